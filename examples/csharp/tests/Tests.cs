// Tests of the binding; tests/embed/csharp.sh runs them. SPDX-License-Identifier: MIT OR Apache-2.0
using System;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Threading;
using DetailFlow;

static partial class Tests
{
    static Model model;
    static string folder;

    // Arguments: a folder to write in, with the bundle bundle.dflow.
    static void Main(string[] arguments)
    {
        folder = arguments[0];
        model = Model.Open();
        var tests = new Action[]
        {
            ClassThatIsUnknownIsSuggested, TextIsUtf8, ZeroInTextIsRefused, ClosedObjectsThrow, ClosingTwiceDoesNothing,
            ObjectsOutliveTheirModel, CancellationTokenEndsFinish, DisposingStopsAStepOfAnotherThread,
            DisposingAWorkerWhileItDraws, DisposingAWorkerWhileAnotherThreadWaits, ReaderOpensABundle,
            DefaultOpensWithOptions,
            ReaderThatFailsIsTheInnerException, CollectorFreesUnderLoad, PixelsGoIntoMemoryOfTheCaller,
            PixelsAreReadWhileAnotherThreadSteps, TooLittleMemoryIsAnError,
            WorkerTicks, NegativeBudgetIsZero, JobsPauseAndHold, GenerationGoesToAWorker, ForkGoesOn,
            CutTokenFileKeepsItsTokens, PictureIsEncoded,
            SettingsAreChecked, ImportsAreNotInlined, ModelOfAJobIsNotCollected, DisposedWorkerKeepsNoModel,
            DisposingAModelEndsItsJobs, TokensAreReadWhileAnotherThreadSteps,
            GenerationInUseIsNotSubmitted, RefusedGenerationStaysOpen,
        };
        foreach (var test in tests)
        {
            test();
            Console.WriteLine("ok {0}", test.Method.Name);
        }
        // Every test above is in the list.
        var names = typeof(Tests).GetMethods(BindingFlags.Static | BindingFlags.NonPublic)
            .Where(one => one.ReturnType == typeof(void) && one.GetParameters().Length == 0 && !one.Name.Contains("<"))
            .Select(one => one.Name);
        Check.Equal("", string.Join(" ", names.Except(tests.Select(one => one.Method.Name))), "tests that are not run");
    }

    static void ClassThatIsUnknownIsSuggested()
    {
        var error = Check.Fails(Status.InvalidArgument, () => model.FindClass("potoin"));
        Check.Equal("DETAILFLOW_STATUS_INVALID_ARGUMENT", error.StatusName, "name");
        Check.That(error.Message.Contains("potion"), error.Message);
        Check.Equal("potion", model.GetClasses()[model.FindClass("potion")], "class");
    }

    static void TextIsUtf8()
    {
        Check.That(Check.Fails(Status.InvalidArgument, () => model.FindClass("Zaubertränk-魔法-\U0001f9ea")).Message
            .Contains("\"Zaubertränk-魔法-\U0001f9ea\""), "the message repeats the name");
        var path = Path.Combine(folder, "trank-ä-魔法-\U0001f9ea.png");
        Images.Save(path, new byte[32 * 32 * 4], 32, 32);
        Check.That(File.Exists(path), path);
        Check.Equal(model.Info.TokenCount, model.EncodeFile(path).Length, "tokens");
    }

    static void ZeroInTextIsRefused()
    {
        Check.Throws<ArgumentException>(() => model.FindClass("potion\0x"));
        Check.Throws<ArgumentException>(() => model.FindClass("\ud800"));
    }

    static void ClosedObjectsThrow()
    {
        var other = Model.Open();
        var request = new Request(other);
        var generation = request.Begin();
        var cancel = generation.GetCancel();
        var worker = new Worker();
        worker.Submit(request);
        var taken = worker.Wait(TimeSpan.FromMilliseconds(-1));
        foreach (var one in new IDisposable[] { taken, worker, cancel, generation, request, other })
        {
            one.Dispose();
        }
        Check.Throws<ObjectDisposedException>(() => taken.GetTokens());
        Check.Throws<ObjectDisposedException>(() => worker.Poll());
        Check.Throws<ObjectDisposedException>(() => worker.Submit(new Request(model)));
        Check.Throws<ObjectDisposedException>(cancel.Trigger);
        Check.Throws<ObjectDisposedException>(() => generation.Step());
        Check.Throws<ObjectDisposedException>(() => request.SetSeed(1));
        Check.Throws<ObjectDisposedException>(() => other.FindClass("potion"));
        Check.Throws<ObjectDisposedException>(() => new Request(other));
    }

    static void ClosingTwiceDoesNothing()
    {
        var other = Model.Open();
        var request = new Request(other);
        var generation = request.Generate();
        var worker = new Worker();
        for (var times = 0; times < 2; times++)
        {
            generation.Dispose();
            worker.Dispose();
            request.Dispose();
            other.Dispose();
        }
    }

    static void ObjectsOutliveTheirModel()
    {
        var other = Model.Open();
        var request = new Request(other).SetSeed(7);
        other.Dispose();
        var generation = request.Begin();
        request.Dispose();
        generation.Finish();
        using (generation)
        using (var again = new Request(model).SetSeed(7))
        using (var expected = again.Generate())
        {
            Check.That(generation.GetTokens().SequenceEqual(expected.GetTokens()), "the tokens are the same");
            Check.That(generation.Decode().SequenceEqual(expected.Decode()), "the pixels are the same");
        }
    }

    static void CancellationTokenEndsFinish()
    {
        using (var source = new CancellationTokenSource())
        using (var request = new Request(model))
        using (var generation = request.Begin())
        {
            generation.Step();
            source.Cancel();
            Check.Fails(Status.Cancelled, () => generation.Finish(source.Token));
            Check.Equal(1, generation.GetTokens().Length, "tokens");
        }
    }

    static void DisposingStopsAStepOfAnotherThread()
    {
        var generation = new Request(model).SetImageCount(64).Begin();
        Exception thrown = null;
        var begun = new ManualResetEvent(false);
        var thread = new Thread(() =>
        {
            try
            {
                generation.Step();
                begun.Set();
                while (generation.Step().StepsLeft > 0)
                {
                }
            }
            catch (Exception error)
            {
                thrown = error;
            }
        });
        thread.Start();
        begun.WaitOne();
        generation.Dispose();
        thread.Join();
        Check.That(thrown is ObjectDisposedException || ((DetailFlowException)thrown).Status == Status.Cancelled,
            thrown.ToString());
    }

    static void DisposingAWorkerWhileItDraws()
    {
        var worker = new Worker();
        using (var request = new Request(model).SetImageCount(64))
        {
            worker.Submit(request);
            worker.Submit(request);
            worker.Wait(TimeSpan.FromMilliseconds(1))?.Dispose();
        }
        worker.Dispose();
        Check.Throws<ObjectDisposedException>(() => worker.Pending.ToString());
    }

    static void DisposingAWorkerWhileAnotherThreadWaits()
    {
        var worker = new Worker();
        Exception thrown = null;
        var begun = new ManualResetEvent(false);
        var thread = new Thread(() =>
        {
            begun.Set();
            try
            {
                while (true)
                {
                    worker.Wait(Timeout.InfiniteTimeSpan).Dispose();
                }
            }
            catch (Exception error)
            {
                thrown = error;
            }
        });
        thread.Start();
        begun.WaitOne();
        worker.Dispose();
        thread.Join();
        Check.That(thrown is ObjectDisposedException, thrown.ToString());
    }

    static string Tokens(Model one)
    {
        using (var request = new Request(one).SetSeed(3))
        using (var generation = request.Generate())
        {
            return string.Join(" ", generation.GetTokens());
        }
    }

    static void ReaderOpensABundle()
    {
        var path = Path.Combine(folder, "bundle.dflow");
        using (var stream = File.OpenRead(path))
        using (var one = Model.Open(stream))
        {
            Check.Equal(Tokens(model), Tokens(one), "tokens");
        }
        using (var one = Model.Open(File.ReadAllBytes(path), new ModelOptions { Threads = 1, Encoder = false }))
        {
            Check.That(!one.Info.CanEncode, "the encoder was not opened");
            Check.Equal(Tokens(model), Tokens(one), "tokens");
        }
        using (var one = Model.Open(path, new ModelOptions { Form = "plain", Precision = "int8", Device = "cpu" }))
        {
            Check.Equal("plain", one.Info.Form, "form");
        }
    }

    static void DefaultOpensWithOptions()
    {
        foreach (var options in new[] { new ModelOptions { Threads = 1, Encoder = false }, null })
        {
            using (var one = Model.Open(options))
            {
                Check.Equal(options == null, one.Info.CanEncode, "an encoder");
                Check.Equal(Tokens(model), Tokens(one), "tokens");
            }
        }
    }

    static void ReaderThatFailsIsTheInnerException()
    {
        var error = Check.Fails(Status.Io, () => Model.Open(1000, (offset, buffer, count) =>
        {
            throw new EndOfStreamException("pulled out");
        }));
        Check.Equal("pulled out", error.InnerException.Message, "inner exception");
        Check.Fails(Status.Io, () => Model.Open(1000, (offset, buffer, count) => 0));
        Check.Fails(Status.Io, () => Model.Open(1000, (offset, buffer, count) => count + 1));
    }

    static void CollectorFreesUnderLoad()
    {
        var worker = new Worker();
        for (var round = 0; round < 20; round++)
        {
            var request = new Request(model).SetLevelSize(8).SetSeed((ulong)round);
            worker.Submit(request, (ulong)round, SubmitFlags.Decode);
            var generation = request.Begin();
            generation.Step();
            generation.GetCancel();
            GC.Collect();
            var taken = worker.Wait(Timeout.InfiniteTimeSpan);
            Check.Equal(Status.Ok, taken.Status, "status");
            taken.DecodeLevel();
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
        // A worker that draws, and that nothing holds.
        new Worker().Submit(new Request(model).SetImageCount(64));
        GC.Collect();
        GC.WaitForPendingFinalizers();
        worker.Dispose();
    }

    static void WorkerTicks()
    {
        using (var worker = new Worker(new WorkerOptions { Threads = 0 }))
        using (var request = new Request(model))
        {
            worker.Submit(request, 5, SubmitFlags.Decode | SubmitFlags.LastOnly);
            Check.Fails(Status.WrongState, () => worker.Wait(TimeSpan.FromSeconds(1)));
            while (worker.Tick(TimeSpan.FromMilliseconds(4)).More)
            {
            }
            using (var taken = worker.Poll())
            {
                Check.Equal(EventKind.Done, taken.Kind, "kind");
                Check.Equal(5ul, taken.User, "user");
                Check.Equal(model.Info.TokenCount, taken.GetTokens().Length, "tokens");
                Check.Equal("", taken.JobMessage, "message");
                Check.That(taken.Decoded, "it is decoded");
            }
            Check.Equal(null, worker.Poll(), "event");
        }
    }

    // It is unlimited as a timeout only.
    static void NegativeBudgetIsZero()
    {
        using (var worker = new Worker(new WorkerOptions { Threads = 0 }))
        using (var request = new Request(model))
        using (var generation = request.Begin())
        {
            worker.Submit(request);
            Check.That(worker.Tick(Timeout.InfiniteTimeSpan).More, "the job is not finished");
            Check.Equal(1, generation.Advance(TimeSpan.FromSeconds(-1)).StepsDone, "steps");
        }
    }

    static void JobsPauseAndHold()
    {
        using (var worker = new Worker(new WorkerOptions { Threads = 1, BatchSize = 1, Order = WorkerOrder.PriorityFirst }))
        using (var request = new Request(model).SetLevelSize(8))
        {
            var job = worker.Submit(request, 0, SubmitFlags.Hold, 2);
            using (var taken = worker.Wait(Timeout.InfiniteTimeSpan))
            {
                Check.Equal(8, taken.LevelSize, "level");
            }
            Check.Equal(1, worker.Pending, "pending");
            worker.Pause(job);
            worker.Continue(job);
            worker.SetPriority(job, 1);
            worker.Resume(job);
            var last = 0;
            while (worker.Pending > 0)
            {
                using (var taken = worker.Wait(Timeout.InfiniteTimeSpan))
                {
                    last = taken.LevelSize;
                }
            }
            Check.Equal(model.Info.ImageSize, last, "level");
            Check.Fails(Status.InvalidArgument, () => worker.Cancel(job + 1));
            Check.Fails(Status.InvalidArgument, () => worker.SetPriority(job, float.NaN));
            var held = worker.Submit(request, 0, SubmitFlags.Hold);
            worker.Cancel(held);
            while (worker.Pending > 0)
            {
                using (var taken = worker.Wait(Timeout.InfiniteTimeSpan))
                {
                    Check.That(taken.Kind == EventKind.Level || taken.Kind == EventKind.Cancelled, taken.Kind.ToString());
                }
            }
            worker.Close();
            Check.Fails(Status.WrongState, () => worker.Submit(request));
        }
    }

    static void GenerationGoesToAWorker()
    {
        using (var worker = new Worker())
        using (var request = new Request(model).SetSeed(3))
        {
            var generation = request.Begin();
            generation.Step();
            worker.Submit(generation, 9, SubmitFlags.LastOnly);
            Check.Throws<ObjectDisposedException>(() => generation.Step());
            Check.Throws<ObjectDisposedException>(() => worker.Submit(generation));
            generation.Dispose();
            using (var taken = worker.Wait(Timeout.InfiniteTimeSpan))
            {
                Check.Equal(EventKind.Done, taken.Kind, "disposing of the generation does not cancel the job");
                Check.Equal(Tokens(model), string.Join(" ", taken.GetTokens()), "tokens");
            }
        }
    }

    static void ForkGoesOn()
    {
        using (var request = new Request(model).SetImageCount(2).SetSeed(10).SetLogProbabilities(true))
        using (var generation = request.Begin())
        {
            generation.AdvanceToLevel(8);
            using (var fork = generation.Fork(10, 11))
            {
                generation.Finish();
                fork.Finish();
                Check.That(fork.GetTokens(1).SequenceEqual(generation.GetTokens(1)), "the same seed, the same tokens");
                Check.That(generation.GetLogProbabilities(1).All(one => one < 0), "probabilities are below 1");
            }
            ulong seed;
            Check.Equal(0, generation.GetImageSource(1, out seed), "class");
            Check.Equal(11ul, seed, "seed");
            Check.That(generation.Advance(TimeSpan.FromMilliseconds(1)).StepsLeft == 0, "it is finished");
        }
    }

    static void SettingsAreChecked()
    {
        using (var request = new Request(model))
        {
            request.SetGuidance(2).SetGradualGuidance(true).SetTemperature(0.5f).SetTopK(20).SetTopP(0.9f);
            request.SetGuidance(new[] { 0, 16 }, new[] { 3f, 1f }).SetTemperature(new[] { 0 }, new[] { 1f });
            request.SetTopK(new[] { 0 }, new[] { 5f }).SetTopP(new[] { 0 }, new[] { 1f }).SetImageSource(0, 2, 3);
            Check.Fails(Status.InvalidArgument, () => request.SetGuidance(float.NaN));
            Check.Fails(Status.InvalidArgument, () => request.SetTopP(2));
            Check.Fails(Status.InvalidArgument, () => request.SetLevelSize(7));
            Check.Fails(Status.InvalidArgument, () => request.SetClass(1000));
            Check.Throws<ArgumentOutOfRangeException>(() => request.SetClass(-1));
            Check.Throws<ArgumentException>(() => request.SetTopK(new[] { 0, 1 }, new[] { 5f }));
            request.SetPrefix(new uint[] { 1, 2, 3, 4 }, 8).SetImagePrefix(0, new uint[] { 4, 3 });
            using (var generation = request.Begin())
            {
                Check.Equal("4 3", string.Join(" ", generation.GetTokens()), "tokens");
            }
        }
    }

    // Mono would look for the library before Library.Load has run: see there.
    static void ImportsAreNotInlined()
    {
        Check.Equal("", Imports.Inlinable(typeof(Model).Assembly), "methods that Mono may inline");
    }
}
