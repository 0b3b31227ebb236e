// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

/** Arrays that a call fills. */
final class Arrays {
    private Arrays() {}

    interface Ints {
        void with(int[] array, SizeT capacity, SizeT.Reference count);
    }

    interface Floats {
        void with(float[] array, SizeT capacity, SizeT.Reference count);
    }

    /**
     * What a call writes, at most so many elements. The call is not asked for the number first: another thread may step in
     * between.
     */
    static int[] ints(int most, Ints call) {
        int[] array = new int[most];
        SizeT.Reference count = new SizeT.Reference();
        call.with(array, new SizeT(most), count);
        return java.util.Arrays.copyOf(array, count.intValue());
    }

    static float[] floats(int most, Floats call) {
        float[] array = new float[most];
        SizeT.Reference count = new SizeT.Reference();
        call.with(array, new SizeT(most), count);
        return java.util.Arrays.copyOf(array, count.intValue());
    }
}
