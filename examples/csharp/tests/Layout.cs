// Sizes and offsets of the structs: `Layout.exe source` prints a C program that prints what `Layout.exe` prints, if the
// structs are those of detailflow.h. SPDX-License-Identifier: MIT OR Apache-2.0
using System;
using System.Reflection;
using System.Runtime.InteropServices;
using DetailFlow;

static class Layout
{
    static void Main(string[] arguments)
    {
        var source = arguments.Length > 0;
        if (source)
        {
            Console.WriteLine("#include <detailflow.h>\n#include <stdio.h>\nint main(void)\n{");
        }
        foreach (var type in typeof(Model).Assembly.GetTypes())
        {
            if (!type.Name.StartsWith("detailflow_"))
            {
                continue;
            }
            Show(source, type.Name, "sizeof(" + type.Name + ")", Marshal.SizeOf(type));
            foreach (var field in type.GetFields(BindingFlags.Instance | BindingFlags.NonPublic))
            {
                Show(source, type.Name + "." + field.Name, "offsetof(" + type.Name + ", " + field.Name + ")",
                    (int)Marshal.OffsetOf(type, field.Name));
            }
        }
        if (source)
        {
            Console.WriteLine("    return 0;\n}");
        }
    }

    static void Show(bool source, string name, string expression, int value)
    {
        Console.WriteLine(source ? "    printf(\"" + name + " %u\\n\", (unsigned)" + expression + ");" : name + " " + value);
    }
}
