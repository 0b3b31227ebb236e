// Token files (.dft) in memory. SPDX-License-Identifier: MIT OR Apache-2.0
using System;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;

namespace DetailFlow
{
    /// <summary>detailflow_damage.</summary>
    public enum Damage
    {
        None = 0,
        Cut = 1,
        Group = 2,
        Surplus = 3,
    }

    /// <summary>A token file: its bytes, and what they say.</summary>
    public sealed class TokenFile
    {
        const uint NoClass = uint.MaxValue;

        public byte[] Data { get; }
        public Damage Damage { get; }

        /// <summary>Tokens that are intact: a prefix.</summary>
        public int IntactCount { get; }

        public int WrittenCount { get; }

        /// <summary>null when it has none.</summary>
        public int? ClassIndex { get; }

        /// <summary>null when it has none.</summary>
        public ulong? Seed { get; }

        /// <summary>As ModelInfo.TokenizerId.</summary>
        public string TokenizerId { get; }

        TokenFile(byte[] data, detailflow_dft_info info, string tokenizerId)
        {
            Data = data;
            Damage = (Damage)info.damage;
            IntactCount = (int)info.intact_count;
            WrittenCount = (int)info.written_count;
            ClassIndex = info.class_index == NoClass ? (int?)null : (int)info.class_index;
            Seed = info.has_seed == 0 ? (ulong?)null : info.seed;
            TokenizerId = tokenizerId;
        }

        /// <summary>Reads a token file. A damaged one is no error: IntactCount says what is left.</summary>
        public static TokenFile Read(byte[] data)
        {
            Library.Load();
            return ReadInfo(data);
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        static unsafe TokenFile ReadInfo(byte[] data)
        {
            var info = default(detailflow_dft_info);
            info.struct_size = (uint)sizeof(detailflow_dft_info);
            Calls.Check(Native.detailflow_dft_get_info(data, Calls.Size(data.Length), ref info, IntPtr.Zero));
            return new TokenFile(data, info, Utf8.Read((IntPtr)info.tokenizer_id));
        }

        /// <summary>Writes a token file.</summary>
        public static TokenFile Write(Model model, uint[] tokens, int? classIndex = null, ulong? seed = null)
        {
            UIntPtr size;
            var number = classIndex.HasValue ? Calls.Unsigned(classIndex.Value, "classIndex") : NoClass;
            var seeds = seed.HasValue ? new[] { seed.Value } : null;
            var count = Calls.Size(tokens.Length);
            Calls.Check(Native.detailflow_dft_encode(
                model.Handle, tokens, count, number, seeds, null, UIntPtr.Zero, out size));
            var data = new byte[checked((int)size)];
            Calls.Check(Native.detailflow_dft_encode(model.Handle, tokens, count, number, seeds, data, size, out size));
            return Read(data);
        }

        /// <summary>The intact tokens.</summary>
        public uint[] GetTokens()
        {
            return Arrays.Get(IntactCount, (uint[] tokens, UIntPtr capacity, out UIntPtr count) =>
                Native.detailflow_dft_get_tokens(
                    Data, Calls.Size(Data.Length), tokens, capacity, out count, IntPtr.Zero));
        }

        /// <summary>Throws when the tokens do not belong to a model.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Check(Model model)
        {
            Calls.Check(Native.detailflow_dft_check(model.Handle, Data, Calls.Size(Data.Length)));
        }
    }
}
