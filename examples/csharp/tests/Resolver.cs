// The binding's code for .NET 5 and later, run by Mono: a stand-in for the class that Mono lacks keeps its rule of one resolver
// for each assembly. SPDX-License-Identifier: MIT OR Apache-2.0
using System;
using System.IO;
using System.Reflection;
using System.Runtime.InteropServices;
using DetailFlow;

namespace System.Runtime.InteropServices
{
    delegate IntPtr DllImportResolver(string name, Assembly assembly, DllImportSearchPath? search);

    static class NativeLibrary
    {
        internal static DllImportResolver Resolver;
        internal static string Loaded;

        internal static void SetDllImportResolver(Assembly assembly, DllImportResolver resolver)
        {
            if (Resolver != null)
            {
                throw new InvalidOperationException("a resolver is already set for the assembly");
            }
            Resolver = resolver;
        }

        internal static IntPtr Load(string path)
        {
            Loaded = path;
            return new IntPtr(1);
        }
    }
}

static class Program
{
    // Arguments: two files that are not a library.
    static void Main(string[] arguments)
    {
        foreach (var path in arguments)
        {
            Environment.SetEnvironmentVariable("DETAILFLOW_LIBRARY", path);
            // Mono does not ask the resolver, and finds no library.
            Check.Throws<DllNotFoundException>(Library.Load);
            Check.Equal(new IntPtr(1), Resolve("detailflow"), "library");
            Check.Equal(Path.GetFullPath(path), NativeLibrary.Loaded, "path");
            Check.Equal(IntPtr.Zero, Resolve("other"), "another library");
        }
        // Without a path the runtime looks for it.
        Environment.SetEnvironmentVariable("DETAILFLOW_LIBRARY", null);
        Check.Throws<DllNotFoundException>(Library.Load);
        Check.Equal(IntPtr.Zero, Resolve("detailflow"), "library");
    }

    static IntPtr Resolve(string name)
    {
        return NativeLibrary.Resolver(name, typeof(Library).Assembly, null);
    }
}
