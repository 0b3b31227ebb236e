// A generation: steps, tokens, pixels. SPDX-License-Identifier: MIT OR Apache-2.0
using System;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Threading;

namespace DetailFlow
{
    /// <summary>How far a generation is: detailflow_progress.</summary>
    public struct Progress
    {
        public int StepsDone;

        /// <summary>0 when it is finished.</summary>
        public int StepsLeft;

        public int TokenCount;

        /// <summary>Pixels per side that the tokens so far decode to; 0 while there are none.</summary>
        public int PrefixSize;

        /// <summary>Pixels per side of the finest level that is complete; 0 before the first.</summary>
        public int LevelSize;

        public int LevelTokenCount;
        public int ImageCount;

        /// <summary>The predicted time of the next step; zero when it is not known.</summary>
        public TimeSpan NextStep;

        internal Progress(detailflow_progress progress)
        {
            StepsDone = (int)progress.steps_done;
            StepsLeft = (int)progress.steps_left;
            TokenCount = (int)progress.token_count;
            PrefixSize = (int)progress.prefix_size;
            LevelSize = (int)progress.level_size;
            LevelTokenCount = (int)progress.level_token_count;
            ImageCount = (int)progress.image_count;
            NextStep = TimeSpan.FromTicks((long)(progress.next_step_ns / 100));
        }
    }

    /// <summary>
    /// A generation. One thread steps it; meanwhile other threads may read its progress, tokens and pixels, cancel it, and
    /// dispose of it, which cancels the step that runs.
    /// </summary>
    /// <remarks>NoInlining: see Library.Redirect.</remarks>
    public sealed class Generation : IDisposable
    {
        readonly GenerationHandle handle;
        readonly Uses uses = new Uses();
        internal Model Model { get; }

        internal Generation(GenerationHandle handle, Model model)
        {
            this.handle = handle;
            Model = model;
        }

        /// <summary>A call that takes the handle over when it succeeds. Busy while another thread uses it.</summary>
        internal void Give(Func<IntPtr, Status> call)
        {
            uses.BeginGiving();
            var held = false;
            var given = false;
            try
            {
                handle.DangerousAddRef(ref held);
                Calls.Check(call(handle.DangerousGetHandle()));
                given = true;
                handle.SetHandleAsInvalid();
            }
            finally
            {
                if (held)
                {
                    handle.DangerousRelease();
                }
                if (!given)
                {
                    uses.UndoGiving();
                }
            }
        }

        /// <summary>Also while another thread steps: its call then throws, within a step.</summary>
        public void Dispose()
        {
            try
            {
                using (var cancel = GetCancel())
                {
                    cancel.Trigger();
                }
            }
            catch (ObjectDisposedException)
            {
                // It is closed already, or a worker has it.
            }
            catch (DetailFlowException)
            {
                // Nothing to cancel: the process is ending.
            }
            handle.Dispose();
        }

        static detailflow_progress Empty()
        {
            var progress = default(detailflow_progress);
            progress.struct_size = (uint)Marshal.SizeOf(typeof(detailflow_progress));
            return progress;
        }

        /// <summary>One step.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public Progress Step()
        {
            var progress = Empty();
            using (uses.Enter())
            {
                Calls.Check(Native.detailflow_generation_step(handle, ref progress));
            }
            return new Progress(progress);
        }

        /// <summary>At least one step, and further ones that should end within the time; a negative one is 0.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public Progress Advance(TimeSpan budget)
        {
            var progress = Empty();
            using (uses.Enter())
            {
                Calls.Check(Native.detailflow_generation_advance(handle, Calls.Nanoseconds(budget), ref progress));
            }
            return new Progress(progress);
        }

        /// <summary>Steps until a level is complete; 0 is the one at which the request ends.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public Progress AdvanceToLevel(int levelSize)
        {
            var progress = Empty();
            using (uses.Enter())
            {
                Calls.Check(Native.detailflow_generation_advance_to_level(
                    handle, Calls.Unsigned(levelSize, "levelSize"), ref progress));
            }
            return new Progress(progress);
        }

        /// <summary>All steps that are left. Ends with Status.Cancelled when the token is cancelled.</summary>
        public Progress Finish(CancellationToken token = default(CancellationToken))
        {
            var progress = Empty();
            using (var cancel = GetCancel())
            using (token.Register(cancel.Trigger))
            {
                using (uses.Enter())
                {
                    Calls.Check(Native.detailflow_generation_finish(handle, ref progress));
                }
            }
            return new Progress(progress);
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        public Progress GetProgress()
        {
            var progress = Empty();
            using (uses.Enter())
            {
                Calls.Check(Native.detailflow_generation_get_progress(handle, ref progress));
            }
            return new Progress(progress);
        }

        /// <summary>What cancels this generation.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public Cancel GetCancel()
        {
            CancelHandle cancel;
            using (uses.Enter())
            {
                Calls.Check(Native.detailflow_generation_get_cancel(handle, out cancel));
            }
            return new Cancel(cancel);
        }

        /// <summary>The tokens of an image so far, coarse to fine.</summary>
        public uint[] GetTokens(int image = 0)
        {
            var index = Calls.Unsigned(image, "image");
            return Arrays.Get(Model.Info.TokenCount, (uint[] tokens, UIntPtr capacity, out UIntPtr count) =>
            {
                using (uses.Enter())
                {
                    return Native.detailflow_generation_get_tokens(handle, index, tokens, capacity, out count);
                }
            });
        }

        /// <summary>The logarithm of the probability of each token; Request.SetLogProbabilities.</summary>
        public float[] GetLogProbabilities(int image = 0)
        {
            var index = Calls.Unsigned(image, "image");
            return Arrays.Get(Model.Info.TokenCount, (float[] values, UIntPtr capacity, out UIntPtr count) =>
            {
                using (uses.Enter())
                {
                    return Native.detailflow_generation_get_log_probabilities(handle, index, values, capacity, out count);
                }
            });
        }

        /// <summary>The class of an image, and its seed.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public int GetImageSource(int image, out ulong seed)
        {
            uint classIndex;
            using (uses.Enter())
            {
                Calls.Check(Native.detailflow_generation_get_image_source(
                    handle, Calls.Unsigned(image, "image"), out classIndex, out seed));
            }
            return (int)classIndex;
        }

        /// <summary>A generation with the same tokens so far that goes on with other seeds, one for each image.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public Generation Fork(params ulong[] seeds)
        {
            GenerationHandle fork;
            using (uses.Enter())
            {
                Calls.Check(Native.detailflow_generation_fork(handle, seeds, Calls.Size(seeds.Length), out fork));
            }
            return new Generation(fork, Model);
        }

        /// <summary>Changes the level at which it ends; 0 is the finest.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public void SetLevelSize(int levelSize)
        {
            using (uses.Enter())
            {
                Calls.Check(Native.detailflow_generation_set_level_size(handle, Calls.Unsigned(levelSize, "levelSize")));
            }
        }

        /// <summary>Writes a picture file of all tokens so far.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Save(string path, int image = 0)
        {
            using (uses.Enter())
            {
                Calls.Check(Native.detailflow_generation_save(handle, Calls.Unsigned(image, "image"), Utf8.Bytes(path)));
            }
        }

        /// <summary>The pixels of all tokens so far: Progress.PrefixSize per side.</summary>
        public byte[] Decode(int image = 0, PixelFormat format = PixelFormat.Rgba8)
        {
            return ToArray(progress => progress.PrefixSize, format, All(image));
        }

        /// <summary>The pixels of the finest level that is complete: Progress.LevelSize per side.</summary>
        public byte[] DecodeLevel(int image = 0, PixelFormat format = PixelFormat.Rgba8)
        {
            return ToArray(progress => progress.LevelSize, format, Level(image));
        }

        byte[] ToArray(Func<Progress, int> sizeOf, PixelFormat format, DecodeCall decode)
        {
            while (true)
            {
                var size = sizeOf(GetProgress());
                try
                {
                    return Decoding.ToArray(size, format, decode);
                }
                catch (DetailFlowException error) when (error.Status == Status.InvalidArgument)
                {
                    // Once more if another thread has stepped to another size in between.
                    if (sizeOf(GetProgress()) == size)
                    {
                        throw;
                    }
                }
            }
        }

        // Into memory of the caller; they return the pixels per side. While another thread steps, a level may be completed
        // between the look at the progress and the decoding: Status.InvalidArgument, and the next call succeeds.

        public int Decode(int image, byte[] pixels, PixelFormat format = PixelFormat.Rgba8, int stride = 0)
        {
            var size = GetProgress().PrefixSize;
            Decoding.Into(pixels, size, format, stride, All(image));
            return size;
        }

        public int DecodeLevel(int image, byte[] pixels, PixelFormat format = PixelFormat.Rgba8, int stride = 0)
        {
            var size = GetProgress().LevelSize;
            Decoding.Into(pixels, size, format, stride, Level(image));
            return size;
        }

#if !DETAILFLOW_NO_SPAN
        public int Decode(int image, Span<byte> pixels, PixelFormat format = PixelFormat.Rgba8, int stride = 0)
        {
            var size = GetProgress().PrefixSize;
            Decoding.Into(pixels, size, format, stride, All(image));
            return size;
        }

        public int DecodeLevel(int image, Span<byte> pixels, PixelFormat format = PixelFormat.Rgba8, int stride = 0)
        {
            var size = GetProgress().LevelSize;
            Decoding.Into(pixels, size, format, stride, Level(image));
            return size;
        }
#endif

        public int Decode(
            int image, IntPtr pixels, long capacity, PixelFormat format = PixelFormat.Rgba8, int stride = 0)
        {
            var size = GetProgress().PrefixSize;
            Decoding.Into(pixels, capacity, size, format, stride, All(image));
            return size;
        }

        public int DecodeLevel(
            int image, IntPtr pixels, long capacity, PixelFormat format = PixelFormat.Rgba8, int stride = 0)
        {
            var size = GetProgress().LevelSize;
            Decoding.Into(pixels, capacity, size, format, stride, Level(image));
            return size;
        }

        DecodeCall All(int image)
        {
            var index = Calls.Unsigned(image, "image");
            return (ref detailflow_image target) =>
            {
                using (uses.Enter())
                {
                    return Native.detailflow_generation_decode(handle, index, ref target);
                }
            };
        }

        DecodeCall Level(int image)
        {
            var index = Calls.Unsigned(image, "image");
            return (ref detailflow_image target) =>
            {
                using (uses.Enter())
                {
                    return Native.detailflow_generation_decode_level(handle, index, ref target);
                }
            };
        }
    }
}
