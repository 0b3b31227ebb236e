// Where libdetailflow is: the file that the environment variable DETAILFLOW_LIBRARY names, else beside this assembly, else
// where the system or Unity looks. SPDX-License-Identifier: MIT OR Apache-2.0
using System;
using System.IO;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace DetailFlow
{
    /// <summary>The native library.</summary>
    public static class Library
    {
#if UNITY_IOS && !UNITY_EDITOR
        internal const string Name = "__Internal";
#else
        internal const string Name = "detailflow";
#endif
        // DETAILFLOW_ABI_VERSION of the header that this binding was written for.
        const uint AbiVersion = 1;
        static readonly object Lock = new object();
        static bool loaded;

        // The file that the imports are from; null when the runtime looks for it.
        static string file;
#if NET5_0_OR_GREATER
        static bool hasResolver;
#endif

        /// <summary>The version of the library, such as "0.1.0".</summary>
        public static string Version
        {
            get
            {
                Load();
                return ReadVersion();
            }
        }

        /// <summary>
        /// Loads the library and checks its version. Other calls do so themselves; this one tells early whether it is there.
        /// </summary>
        /// <exception cref="DllNotFoundException">Not found; the message lists the places.</exception>
        public static void Load()
        {
            lock (Lock)
            {
                if (loaded)
                {
                    return;
                }
                var path = Environment.GetEnvironmentVariable("DETAILFLOW_LIBRARY");
                var named = !string.IsNullOrEmpty(path);
                if (!named)
                {
                    path = Beside();
                }
                else if (!File.Exists(path))
                {
                    throw new DllNotFoundException(
                        "DETAILFLOW_LIBRARY names " + path + ", which does not exist: set it to the path of " + FileName());
                }
                try
                {
                    file = path == null ? null : Path.GetFullPath(path);
                    if (file != null)
                    {
                        Redirect();
                    }
                    CheckAbi();
                }
                catch (Exception error) when (error is DllNotFoundException || error is BadImageFormatException)
                {
                    throw new DllNotFoundException((named ? "DETAILFLOW_LIBRARY names " + path + ", which cannot be loaded"
                        : FileName() + " was not found beside " + typeof(Library).Assembly.Location
                            + " or where the system looks") + ": set DETAILFLOW_LIBRARY to its path (" + error.Message + ")",
                        error);
                }
                loaded = true;
            }
        }

        static string FileName()
        {
            return RuntimeInformation.IsOSPlatform(OSPlatform.Windows) ? "detailflow.dll"
                : RuntimeInformation.IsOSPlatform(OSPlatform.OSX) ? "libdetailflow.dylib" : "libdetailflow.so";
        }

        // null when it is not there; so it is in a single-file program, and in Unity, which knows its plugins.
        static string Beside()
        {
            var assembly = typeof(Library).Assembly.Location;
            if (string.IsNullOrEmpty(assembly))
            {
                return null;
            }
            var path = Path.Combine(Path.GetDirectoryName(assembly), FileName());
            return File.Exists(path) ? path : null;
        }

        // Makes DllImport of Name load a file. Mono resolves the imports of a method when it compiles that method: therefore
        // no method that calls Native may be compiled, or inlined into one that is, before this.
        static void Redirect()
        {
#if NET5_0_OR_GREATER
            // A second resolver is an error, also after a load that has failed.
            if (!hasResolver)
            {
                NativeLibrary.SetDllImportResolver(typeof(Library).Assembly,
                    (name, assembly, search) => name == Name && file != null ? NativeLibrary.Load(file) : IntPtr.Zero);
                hasResolver = true;
            }
#elif !UNITY_5_3_OR_NEWER
            if (Type.GetType("Mono.Runtime") != null)
            {
                mono_dllmap_insert(IntPtr.Zero, Utf8.Bytes(Name), null, Utf8.Bytes(file), null);
            }
            else if (RuntimeInformation.IsOSPlatform(OSPlatform.Windows) && LoadLibraryW(file) == IntPtr.Zero)
            {
                // .NET Framework: DllImport then takes the module of this name that is loaded already.
                throw new DllNotFoundException("error " + Marshal.GetLastWin32Error() + " of LoadLibrary");
            }
#endif
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        static void CheckAbi()
        {
            var version = Native.detailflow_abi_version();
            if (version < AbiVersion)
            {
                throw new InvalidOperationException("libdetailflow " + ReadVersion() + " has ABI version " + version
                    + "; this binding needs " + AbiVersion + " or a later one");
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        static string ReadVersion()
        {
            return Utf8.Read(Native.detailflow_version());
        }

#if !NET5_0_OR_GREATER && !UNITY_5_3_OR_NEWER
        [DllImport("__Internal", CallingConvention = CallingConvention.Cdecl)]
        static extern void mono_dllmap_insert(
            IntPtr image, byte[] library, byte[] function, byte[] target, byte[] targetFunction);

        [DllImport("kernel32", CharSet = CharSet.Unicode, SetLastError = true)]
        static extern IntPtr LoadLibraryW(string path);
#endif
    }
}
