// What to generate. SPDX-License-Identifier: MIT OR Apache-2.0
using System;
using System.Runtime.CompilerServices;

namespace DetailFlow
{
    /// <summary>
    /// A request: one image of class 0 with seed 0 at the finest level, with the model's default sampling, until it is
    /// changed. One thread at a time.
    /// </summary>
    public sealed class Request : IDisposable
    {
        internal RequestHandle Handle { get; }
        internal Model Model { get; }

        [MethodImpl(MethodImplOptions.NoInlining)]
        public Request(Model model)
        {
            RequestHandle handle;
            Calls.Check(Native.detailflow_request_new(model.Handle, out handle));
            Handle = handle;
            Model = model;
        }

        public void Dispose()
        {
            Handle.Dispose();
        }

        // The setters return the request, so that they can be chained. NoInlining: see Library.Redirect.

        [MethodImpl(MethodImplOptions.NoInlining)]
        public Request SetImageCount(int count)
        {
            Calls.Check(Native.detailflow_request_set_image_count(Handle, Calls.Unsigned(count, "count")));
            return this;
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        public Request SetClass(int classIndex)
        {
            Calls.Check(Native.detailflow_request_set_class(Handle, Calls.Unsigned(classIndex, "classIndex")));
            return this;
        }

        public Request SetClass(string name)
        {
            return SetClass(Model.FindClass(name));
        }

        /// <summary>The seed of the first image; the others take the seeds that follow it.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public Request SetSeed(ulong seed)
        {
            Calls.Check(Native.detailflow_request_set_seed(Handle, seed));
            return this;
        }

        /// <summary>Class and seed of one image.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public Request SetImageSource(int image, int classIndex, ulong seed)
        {
            Calls.Check(Native.detailflow_request_set_image_source(
                Handle, Calls.Unsigned(image, "image"), Calls.Unsigned(classIndex, "classIndex"), seed));
            return this;
        }

        /// <summary>The scale of classifier-free guidance; 1 is off.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public Request SetGuidance(float scale)
        {
            Calls.Check(Native.detailflow_request_set_guidance(Handle, scale));
            return this;
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        public Request SetGradualGuidance(bool gradual)
        {
            Calls.Check(Native.detailflow_request_set_gradual_guidance(Handle, gradual ? 1u : 0));
            return this;
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        public Request SetTemperature(float temperature)
        {
            Calls.Check(Native.detailflow_request_set_temperature(Handle, temperature));
            return this;
        }

        /// <summary>0 is off.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public Request SetTopK(int k)
        {
            Calls.Check(Native.detailflow_request_set_top_k(Handle, Calls.Unsigned(k, "k")));
            return this;
        }

        /// <summary>1 is off.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public Request SetTopP(float p)
        {
            Calls.Check(Native.detailflow_request_set_top_p(Handle, p));
            return this;
        }

        /// <summary>Guidance as a curve over the tokens: a value at each of these tokens, linear between them.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public Request SetGuidance(int[] tokens, float[] values)
        {
            Calls.Check(Native.detailflow_request_set_guidance_curve(Handle, Points(tokens, values), values, Count(tokens)));
            return this;
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        public Request SetTemperature(int[] tokens, float[] values)
        {
            Calls.Check(Native.detailflow_request_set_temperature_curve(
                Handle, Points(tokens, values), values, Count(tokens)));
            return this;
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        public Request SetTopK(int[] tokens, float[] values)
        {
            Calls.Check(Native.detailflow_request_set_top_k_curve(Handle, Points(tokens, values), values, Count(tokens)));
            return this;
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        public Request SetTopP(int[] tokens, float[] values)
        {
            Calls.Check(Native.detailflow_request_set_top_p_curve(Handle, Points(tokens, values), values, Count(tokens)));
            return this;
        }

        /// <summary>Whether Generation.GetLogProbabilities works.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public Request SetLogProbabilities(bool record)
        {
            Calls.Check(Native.detailflow_request_set_log_probabilities(Handle, record ? 1u : 0));
            return this;
        }

        /// <summary>The tokens that every image begins with: all, or those of a level.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public Request SetPrefix(uint[] tokens, int levelSize = 0)
        {
            Calls.Check(Native.detailflow_request_set_prefix(
                Handle, tokens, Calls.Size(tokens.Length), Calls.Unsigned(levelSize, "levelSize")));
            return this;
        }

        /// <summary>The tokens that one image begins with.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public Request SetImagePrefix(int image, uint[] tokens)
        {
            Calls.Check(Native.detailflow_request_set_image_prefix(
                Handle, Calls.Unsigned(image, "image"), tokens, Calls.Size(tokens.Length)));
            return this;
        }

        /// <summary>The level at which the generation ends; 0 is the finest.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public Request SetLevelSize(int levelSize)
        {
            Calls.Check(Native.detailflow_request_set_level_size(Handle, Calls.Unsigned(levelSize, "levelSize")));
            return this;
        }

        /// <summary>A generation of this request, before its first step.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public Generation Begin()
        {
            GenerationHandle generation;
            Calls.Check(Native.detailflow_generation_new(Handle, out generation));
            return new Generation(generation, Model);
        }

        /// <summary>A finished generation of this request.</summary>
        public Generation Generate()
        {
            var generation = Begin();
            try
            {
                generation.Finish();
                return generation;
            }
            catch
            {
                generation.Dispose();
                throw;
            }
        }

        /// <summary>Images that share the tokens up to a level, and then go on with the seeds of this request.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public Generation Vary(uint[] tokens, int levelSize)
        {
            GenerationHandle generation;
            Calls.Check(Native.detailflow_vary(
                Handle, tokens, Calls.Size(tokens.Length), Calls.Unsigned(levelSize, "levelSize"), out generation));
            return new Generation(generation, Model);
        }

        /// <summary>A picture file of any size, encoded and generated anew from a level on.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public Generation Redetail(string path, int levelSize)
        {
            GenerationHandle generation;
            Calls.Check(Native.detailflow_redetail_file(
                Handle, Utf8.Bytes(path), Calls.Unsigned(levelSize, "levelSize"), out generation));
            return new Generation(generation, Model);
        }

        /// <summary>As the other, of a picture in memory.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public Generation Redetail(Image picture, int levelSize)
        {
            GenerationHandle generation;
            var image = picture.ToNative();
            Calls.Check(Native.detailflow_redetail(
                Handle, ref image, Calls.Unsigned(levelSize, "levelSize"), out generation));
            return new Generation(generation, Model);
        }

        static UIntPtr Count(int[] tokens)
        {
            return Calls.Size(tokens.Length);
        }

        static uint[] Points(int[] tokens, float[] values)
        {
            if (tokens.Length != values.Length)
            {
                throw new ArgumentException("a curve has as many tokens as values", "values");
            }
            return Array.ConvertAll(tokens, token => Calls.Unsigned(token, "tokens"));
        }
    }
}
