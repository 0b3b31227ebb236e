// The scenario of examples/README.md; prints what examples/c/scenario.c prints. SPDX-License-Identifier: MIT OR Apache-2.0
using System;
using System.Collections.Generic;
using System.Threading;
using DetailFlow;

static class Scenario
{
    const int Jobs = 4;
    const int Many = 64;

    // FNV-1a, 64 bits.
    static string Hash(byte[] data)
    {
        var hash = 0xcbf29ce484222325;
        foreach (var one in data)
        {
            hash = unchecked((hash ^ one) * 0x100000001b3);
        }
        return hash.ToString("x16");
    }

    static void PrintPixels(string what, int side, byte[] pixels)
    {
        Console.WriteLine("{0} {1} px {2}", what, side, Hash(pixels));
    }

    // 1. What the model is.
    static void Describe(Model model)
    {
        Console.WriteLine("model {0}: {1} px, {2} tokens, {3} classes", model.Info.Name, model.Info.ImageSize,
            model.Info.TokenCount, model.Info.ClassCount);
        foreach (var level in model.GetLevels())
        {
            Console.WriteLine("level {0} px: {1} tokens", level.Size, level.TokenCount);
        }
    }

    // 2. An error, as a program shows it.
    static void ProvokeAnError(Model model)
    {
        try
        {
            model.FindClass("no such class");
        }
        catch (DetailFlowException error)
        {
            Console.WriteLine("error {0}: {1}", error.StatusName, error.Message);
        }
    }

    // 3. One picture step by step; each level is shown when it is complete.
    static uint[] Draw(Model model, int classIndex, ulong seed)
    {
        using (var request = new Request(model).SetClass(classIndex).SetSeed(seed))
        using (var generation = request.Begin())
        {
            var shown = 0;
            Progress progress;
            do
            {
                progress = generation.Step();
                if (progress.LevelSize > shown)
                {
                    PrintPixels("drawn", progress.LevelSize, generation.DecodeLevel());
                    shown = progress.LevelSize;
                }
            } while (progress.StepsLeft > 0);
            var tokens = generation.GetTokens();
            Console.WriteLine("tokens {0}", string.Join(" ", tokens));
            return tokens;
        }
    }

    // 4. A token file in memory, and the picture from it.
    static void RoundTrip(Model model, uint[] tokens, int classIndex, ulong seed)
    {
        var data = TokenFile.Write(model, tokens, classIndex, seed).Data;
        var file = TokenFile.Read(data);
        var back = file.GetTokens();
        Console.WriteLine("file {0} bytes {1}: class {2}, seed {3}, {4} tokens", data.Length, Hash(data), file.ClassIndex,
            file.Seed, back.Length);
        PrintPixels("decoded", model.Info.ImageSize, model.Decode(back, model.Info.ImageSize));
    }

    // 5. Another thread cancels what this one draws; the tokens so far are kept.
    static void CancelFromAThread(Model model)
    {
        using (var request = new Request(model).SetImageCount(Many))
        using (var generation = request.Begin())
        using (var cancel = generation.GetCancel())
        {
            generation.Step();
            var thread = new Thread(cancel.Trigger);
            thread.Start();
            try
            {
                while (generation.Step().StepsLeft > 0)
                {
                }
            }
            catch (DetailFlowException error) when (error.Status == Status.Cancelled)
            {
                Console.WriteLine("cancelled {0}: {1}", error.StatusName,
                    generation.GetProgress().TokenCount > 0 ? "tokens are kept" : "no tokens");
            }
            thread.Join();
        }
    }

    // 6. Jobs of a worker; its events are polled, as a game loop does.
    static void Work(Model model)
    {
        var lines = new List<string>();
        using (var worker = new Worker())
        {
            using (var request = new Request(model))
            {
                for (var at = 0; at < Jobs; at++)
                {
                    request.SetClass(at).SetSeed((ulong)at);
                    worker.Submit(request, (ulong)at, SubmitFlags.Decode);
                }
            }
            while (worker.Pending > 0)
            {
                using (var taken = worker.Poll())
                {
                    if (taken == null)
                    {
                        continue;
                    }
                    if (taken.Status != Status.Ok)
                    {
                        throw new InvalidOperationException(taken.JobMessage);
                    }
                    // The last event of a job repeats its last level.
                    if (taken.Kind == EventKind.Level)
                    {
                        lines.Add(string.Format(
                            "job {0}: {1,4} px {2}", taken.User, taken.LevelSize, Hash(taken.DecodeLevel())));
                    }
                }
            }
        }
        // Jobs end in any order.
        lines.Sort(string.CompareOrdinal);
        lines.ForEach(Console.WriteLine);
    }

    // 7. The program ends while a worker draws.
    static void Quit(Model model)
    {
        var worker = new Worker();
        worker.Submit(new Request(model).SetImageCount(Many));
        Console.WriteLine("quit with {0} job going on", worker.Pending);
        Environment.Exit(0);
    }

    static int Main(string[] arguments)
    {
        try
        {
            var model = Model.Open(arguments.Length > 0 ? arguments[0] : null);
            Describe(model);
            ProvokeAnError(model);
            var potion = model.FindClass("potion");
            var tokens = Draw(model, potion, 7);
            RoundTrip(model, tokens, potion, 7);
            CancelFromAThread(model);
            Work(model);
            Quit(model);
            return 0;
        }
        catch (DetailFlowException error)
        {
            Console.Error.WriteLine("{0}: {1}", error.StatusName, error.Message);
            return 1;
        }
    }
}
