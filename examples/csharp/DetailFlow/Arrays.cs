// Arrays that a call fills. SPDX-License-Identifier: MIT OR Apache-2.0
using System;

namespace DetailFlow
{
    delegate Status ArrayCall<T>(T[] array, UIntPtr capacity, out UIntPtr count);

    static class Arrays
    {
        /// <summary>
        /// What a call writes, at most so many elements. The call is not asked for the number first: another thread may step
        /// in between.
        /// </summary>
        internal static T[] Get<T>(int most, ArrayCall<T> call)
        {
            UIntPtr count;
            var array = new T[most];
            Calls.Check(call(array, Calls.Size(most), out count));
            Array.Resize(ref array, (int)count);
            return array;
        }
    }
}
