// Programs that end while work is going on; each must end by itself. SPDX-License-Identifier: MIT OR Apache-2.0
using System;
using System.Threading;
using DetailFlow;

static class Exits
{
    static Worker Drawing(Model model)
    {
        var worker = new Worker();
        worker.Submit(new Request(model).SetImageCount(64));
        worker.Submit(new Request(model).SetImageCount(64));
        return worker;
    }

    static void Background(Action<ManualResetEvent> action)
    {
        var begun = new ManualResetEvent(false);
        new Thread(() => action(begun)) { IsBackground = true }.Start();
        begun.WaitOne();
    }

    static void Main(string[] arguments)
    {
        var model = Model.Open();
        switch (arguments[0])
        {
            case "return":
                Drawing(model);
                break;
            case "exit":
                Drawing(model);
                Environment.Exit(0);
                break;
            case "disposed":
                using (model)
                using (Drawing(model))
                {
                    Environment.Exit(0);
                }
                break;
            case "collected":
                Drawing(model);
                model = null;
                GC.Collect();
                break;
            case "step":
                Background(begun =>
                {
                    var generation = new Request(model).SetImageCount(64).Begin();
                    generation.Step();
                    begun.Set();
                    generation.Finish();
                });
                break;
            case "wait":
                Background(begun =>
                {
                    var worker = new Worker();
                    begun.Set();
                    worker.Wait(Timeout.InfiniteTimeSpan);
                });
                break;
            case "poll":
                Background(begun =>
                {
                    var worker = Drawing(model);
                    while (true)
                    {
                        using (worker.Poll())
                        {
                            begun.Set();
                        }
                    }
                });
                break;
            case "exit-elsewhere":
                Drawing(model);
                Background(begun =>
                {
                    begun.Set();
                    Environment.Exit(0);
                });
                Thread.Sleep(Timeout.Infinite);
                break;
            case "late":
                // A worker that is made when the others are closed already.
                AppDomain.CurrentDomain.ProcessExit += delegate { Drawing(model); };
                Drawing(model);
                break;
            case "closed":
                // The binding has closed the workers before handlers that come later run.
                var drawing = Drawing(model);
                AppDomain.CurrentDomain.ProcessExit += delegate
                {
                    try
                    {
                        drawing.Submit(new Request(model));
                        Console.WriteLine("the worker is open");
                    }
                    catch (DetailFlowException error) when (error.Status == Status.WrongState)
                    {
                        Console.WriteLine("the worker is closed");
                    }
                };
                break;
            default:
                throw new ArgumentException(arguments[0]);
        }
    }
}
