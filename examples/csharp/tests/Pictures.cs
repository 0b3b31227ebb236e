// Tests of pixels, pictures and token files. SPDX-License-Identifier: MIT OR Apache-2.0
using System;
using System.IO;
using System.Linq;
using System.Threading;
using DetailFlow;

static partial class Tests
{
    static unsafe void PixelsGoIntoMemoryOfTheCaller()
    {
        using (var request = new Request(model))
        using (var generation = request.Generate())
        {
            var side = model.Info.ImageSize;
            var expected = generation.Decode();
            Check.Equal(side * side * 4, expected.Length, "bytes");

            // In the middle of an array, in rows with a gap.
            var stride = side * 4 + 8;
            var memory = Enumerable.Repeat((byte)0xa5, 64 + side * stride + 64).ToArray();
            var inner = new Span<byte>(memory, 64, side * stride);
            Check.Equal(side, generation.Decode(0, inner, PixelFormat.Rgba8, stride), "side");
            for (var at = 0; at < memory.Length; at++)
            {
                var row = (at - 64) / stride;
                var column = (at - 64) % stride;
                var inside = at >= 64 && row < side && column < side * 4;
                Check.Equal(inside ? expected[row * side * 4 + column] : (byte)0xa5, memory[at], "byte " + at);
            }

            // At an address, in another format.
            var swapped = new byte[side * side * 4];
            fixed (byte* first = swapped)
            {
                generation.DecodeLevel(0, (IntPtr)first, swapped.Length, PixelFormat.Bgra8);
            }
            Check.That(swapped[0] == expected[2] && swapped[2] == expected[0], "red and blue are swapped");

            var tokens = generation.GetTokens();
            var decoded = new byte[side * side * 4];
            model.Decode(tokens, side, decoded);
            Check.That(decoded.SequenceEqual(expected), "the tokens decode to the same");
            Span<byte> span = decoded;
            span.Clear();
            model.Decode(tokens, 0, span);
            Check.That(decoded.SequenceEqual(expected), "the tokens decode to the same");
        }
    }

    static void PixelsAreReadWhileAnotherThreadSteps()
    {
        for (var round = 0; round < 60; round++)
        {
            using (var request = new Request(model))
            using (var generation = request.Begin())
            {
                generation.AdvanceToLevel(8);
                var thread = new Thread(() => generation.Finish());
                thread.Start();
                var bytes = 0;
                while (!thread.Join(0))
                {
                    var now = Math.Min(generation.Decode().Length, generation.DecodeLevel().Length);
                    Check.That(now >= bytes, "the size grows");
                    bytes = now;
                }
                Check.Equal(model.Info.ImageSize * model.Info.ImageSize * 4, generation.Decode().Length, "bytes");
            }
        }
    }

    static void TooLittleMemoryIsAnError()
    {
        using (var request = new Request(model))
        using (var generation = request.Begin())
        {
            Check.Fails(Status.WrongState, () => generation.DecodeLevel());
            generation.Finish();
            Check.Fails(Status.InvalidArgument, () => generation.Decode(0, new byte[100]));
            Check.Fails(Status.InvalidArgument, () => generation.Decode(0, new byte[0]));
            Check.Fails(Status.InvalidArgument, () => generation.Decode(1, new byte[1 << 20]));
        }
    }

    static void CutTokenFileKeepsItsTokens()
    {
        using (var request = new Request(model))
        using (var generation = request.Generate())
        {
            var tokens = generation.GetTokens();
            var file = TokenFile.Write(model, tokens);
            Check.Equal(null, file.ClassIndex, "class");
            Check.Equal(null, file.Seed, "seed");
            Check.Equal(model.Info.TokenizerId, file.TokenizerId, "tokenizer");
            file.Check(model);
            Check.Equal(ulong.MaxValue, TokenFile.Write(model, tokens, 3, ulong.MaxValue).Seed, "seed");
            var cut = TokenFile.Read(file.Data.Take(file.Data.Length - 1).ToArray());
            Check.Equal(Damage.Cut, cut.Damage, "damage");
            Check.That(cut.IntactCount > 0 && cut.IntactCount < tokens.Length, cut.IntactCount.ToString());
            Check.That(cut.GetTokens().SequenceEqual(tokens.Take(cut.IntactCount)), "the tokens before the cut");
            Check.Fails(Status.BadFormat, () => TokenFile.Read(new byte[] { 1, 2, 3 }));
        }
    }

    static unsafe void PictureIsEncoded()
    {
        using (var request = new Request(model))
        using (var generation = request.Generate())
        {
            var side = model.Info.ImageSize;
            var pixels = generation.Decode();
            var path = Path.Combine(folder, "picture.png");
            generation.Save(path);
            var tokens = model.EncodeFile(path);
            Check.That(model.EncodeFile(File.ReadAllBytes(path)).SequenceEqual(tokens), "from memory");
            fixed (byte* first = pixels)
            {
                var image = new Image((IntPtr)first, pixels.Length, side, side);
                Check.That(model.Encode(image).SequenceEqual(tokens), "from pixels");
                Check.That(image.Encode(FileFormat.Png).Take(4).SequenceEqual(new byte[] { 0x89, 0x50, 0x4e, 0x47 }), "PNG");
                using (var detail = request.Redetail(image, 8))
                {
                    detail.Finish();
                    Check.That(detail.GetTokens().Take(4).SequenceEqual(tokens.Take(4)), "the coarse tokens stay");
                }
            }
            using (var varied = request.SetSeed(5).Vary(tokens, 8))
            {
                Check.That(varied.GetTokens().Take(4).SequenceEqual(tokens.Take(4)), "the coarse tokens stay");
            }
        }
    }
}
