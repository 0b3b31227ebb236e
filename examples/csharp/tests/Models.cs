// Tests of the models that jobs keep. SPDX-License-Identifier: MIT OR Apache-2.0
using System;
using System.Linq;
using System.Threading;
using DetailFlow;

static class Garbage
{
    internal static void Collect()
    {
        for (var times = 0; times < 3; times++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
    }
}

static partial class Tests
{
    // Two models that nothing but their jobs refers to: one of requests, one of a generation. On a thread of its own, since
    // Mono's collector takes what calls have left on the stack for references.
    static WeakReference[] SubmitOfLostModels(Worker worker)
    {
        WeakReference[] models = null;
        var thread = new Thread(() =>
        {
            var ofRequests = Model.Open();
            var ofGeneration = Model.Open();
            var request = new Request(ofRequests).SetImageCount(4);
            for (var times = 0; times < 10; times++)
            {
                worker.Submit(request, 0, SubmitFlags.LastOnly);
            }
            worker.Submit(new Request(ofGeneration).Begin(), 0, SubmitFlags.LastOnly);
            models = new[] { new WeakReference(ofRequests), new WeakReference(ofGeneration) };
        });
        thread.Start();
        thread.Join();
        return models;
    }

    // Takes all events in a thread: see SubmitOfLostModels.
    static EventKind[] Kinds(Worker worker)
    {
        EventKind[] kinds = null;
        var thread = new Thread(() =>
        {
            kinds = new EventKind[worker.Pending];
            for (var at = 0; at < kinds.Length; at++)
            {
                using (var taken = worker.Poll())
                {
                    kinds[at] = taken.Kind;
                }
            }
        });
        thread.Start();
        thread.Join();
        return kinds;
    }

    static void ModelOfAJobIsNotCollected()
    {
        // It works in Tick only: nothing is done before the garbage is collected.
        using (var worker = new Worker(new WorkerOptions { Threads = 0 }))
        {
            var models = SubmitOfLostModels(worker);
            Garbage.Collect();
            while (worker.Tick(TimeSpan.FromSeconds(1)).More)
            {
            }
            Check.Equal(string.Join(" ", Enumerable.Repeat(EventKind.Done, 11)), string.Join(" ", Kinds(worker)), "events");
            // Nothing keeps them when the last events were taken.
            Garbage.Collect();
            Check.That(models.All(one => !one.IsAlive), "the models are collected");
        }
    }

    static void DisposedWorkerKeepsNoModel()
    {
        var worker = new Worker(new WorkerOptions { Threads = 0 });
        var models = SubmitOfLostModels(worker);
        worker.Dispose();
        Garbage.Collect();
        Check.That(models.All(one => !one.IsAlive), "the models are collected");
        GC.KeepAlive(worker);
    }

    static void DisposingAModelEndsItsJobs()
    {
        using (var other = Model.Open())
        using (var request = new Request(other))
        using (var worker = new Worker(new WorkerOptions { Threads = 0 }))
        {
            worker.Submit(request);
            worker.Submit(request.Begin());
            other.Dispose();
            Check.Equal("Cancelled Cancelled", string.Join(" ", Kinds(worker)), "events");
        }
    }

    static void TokensAreReadWhileAnotherThreadSteps()
    {
        using (var request = new Request(model).SetImageCount(4))
        using (var generation = request.Begin())
        {
            Exception thrown = null;
            var thread = new Thread(() =>
            {
                try
                {
                    generation.Finish();
                }
                catch (Exception error)
                {
                    thrown = error;
                }
            });
            thread.Start();
            var count = 0;
            while (!thread.Join(0))
            {
                var now = generation.GetTokens(3).Length;
                Check.That(now >= count, "tokens stay");
                count = now;
            }
            Check.Equal(null, thrown, "exception");
            Check.Equal(model.Info.TokenCount, generation.GetTokens(3).Length, "tokens");
        }
    }
}
