// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

/**
 * Sizes and offsets of the structs: with the argument "source" it prints a C program that prints what it prints without
 * one, if the structs are those of detailflow.h.
 */
final class Layout {
    private Layout() {}

    public static void main(String[] arguments) throws ReflectiveOperationException {
        boolean source = arguments.length > 0;
        if (source) {
            System.out.println("#include <detailflow.h>\n#include <stdio.h>\nint main(void)\n{");
        }
        for (Class<?> type : Structs.class.getDeclaredClasses()) {
            if (!type.getSimpleName().startsWith("detailflow_")) {
                continue;
            }
            Structs.Sized struct = (Structs.Sized) type.getConstructor().newInstance();
            String name = type.getSimpleName();
            show(source, name, "sizeof(" + name + ")", struct.size());
            for (String field : struct.fields()) {
                show(source, name + "." + field, "offsetof(" + name + ", " + field + ")", struct.offset(field));
            }
        }
        if (source) {
            System.out.println("    return 0;\n}");
        }
    }

    private static void show(boolean source, String name, String expression, int value) {
        System.out.println(
            source ? "    printf(\"" + name + " %u\\n\", (unsigned)" + expression + ");" : name + " " + value);
    }
}
