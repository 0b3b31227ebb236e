// Tests of generations that go to a worker while another thread uses them. SPDX-License-Identifier: MIT OR Apache-2.0
using System;
using System.Threading;
using DetailFlow;

static partial class Tests
{
    // Saves to a folder that does not exist, until the generation is closed. What then is thrown is stored.
    sealed class Saver
    {
        internal readonly Thread Thread;
        internal readonly ManualResetEvent Begun = new ManualResetEvent(false);
        internal Exception Thrown;

        internal Saver(Generation generation)
        {
            Thread = new Thread(() =>
            {
                try
                {
                    while (true)
                    {
                        Check.Fails(Status.Io, () => generation.Save("/none/picture.png"));
                        Begun.Set();
                        // Not inside a call for a moment.
                        Thread.Yield();
                    }
                }
                catch (Exception error)
                {
                    Thrown = error;
                    Begun.Set();
                }
            });
            Thread.IsBackground = true;
            Thread.Start();
        }
    }

    static void GenerationInUseIsNotSubmitted()
    {
        using (var request = new Request(model))
        using (var worker = new Worker(new WorkerOptions { Threads = 0 }))
        {
            var busy = 0;
            for (var round = 0; round < 20 || busy == 0; round++)
            {
                Check.That(round < 1000, "a thread that is inside a call keeps the generation");
                var generation = request.Begin();
                generation.Step();
                var saver = new Saver(generation);
                saver.Begun.WaitOne();
                var submitted = false;
                while (!submitted)
                {
                    try
                    {
                        worker.Submit(generation);
                        submitted = true;
                    }
                    catch (DetailFlowException error)
                    {
                        Check.Equal(Status.Busy, error.Status, "status of \"" + error.Message + "\"");
                        Check.Equal("DETAILFLOW_STATUS_BUSY", error.StatusName, "name");
                        busy++;
                    }
                }
                // The job ends: a save that goes on would use what is freed.
                worker.CancelAll();
                while (worker.Pending > 0)
                {
                    worker.Poll().Dispose();
                }
                saver.Thread.Join();
                Check.That(saver.Thrown is ObjectDisposedException, saver.Thrown.ToString());
            }
        }
    }

    static void RefusedGenerationStaysOpen()
    {
        using (var request = new Request(model))
        using (var generation = request.Begin())
        {
            var worker = new Worker();
            worker.Close();
            Check.Fails(Status.WrongState, () => worker.Submit(generation));
            generation.Step();
            worker.Dispose();
            Check.Throws<ObjectDisposedException>(() => worker.Submit(generation));
            generation.Step();
        }
    }
}
