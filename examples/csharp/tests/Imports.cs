// Which methods call imported functions. SPDX-License-Identifier: MIT OR Apache-2.0
using System;
using System.Collections.Generic;
using System.Reflection;

static class Imports
{
    const BindingFlags All = BindingFlags.Static | BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic
        | BindingFlags.DeclaredOnly;

    // Mono inlines methods of up to 20 bytes; some more for safety.
    const int Small = 32;

    /// <summary>The small methods that call one and may be inlined.</summary>
    internal static string Inlinable(Assembly assembly)
    {
        var found = new List<string>();
        var seen = 0;
        foreach (var type in assembly.GetTypes())
        {
            var methods = new List<MethodBase>(type.GetMethods(All));
            methods.AddRange(type.GetConstructors(All));
            foreach (var method in methods)
            {
                var body = method.GetMethodBody();
                if (body == null || !CallsNative(method, body.GetILAsByteArray()))
                {
                    continue;
                }
                seen++;
                var apart = (method.GetMethodImplementationFlags() & MethodImplAttributes.NoInlining) != 0;
                // Overrides are called through the table of their type; a delegate is, too.
                if (!apart && !method.IsVirtual && !method.Name.Contains("<") && body.GetILAsByteArray().Length < Small
                    && body.ExceptionHandlingClauses.Count == 0)
                {
                    found.Add(type.Name + "." + method.Name);
                }
            }
        }
        Check.That(seen > 50, "methods that call imported functions were found");
        return string.Join(" ", found);
    }

    static bool CallsNative(MethodBase method, byte[] code)
    {
        const byte Call = 0x28;
        for (var at = 0; at + 4 < code.Length; at++)
        {
            if (code[at] != Call)
            {
                continue;
            }
            try
            {
                var called = method.Module.ResolveMethod(BitConverter.ToInt32(code, at + 1));
                if (called.DeclaringType.Name == "Native")
                {
                    return true;
                }
            }
            catch (Exception error) when (error is ArgumentException || error is BadImageFormatException)
            {
                // Not a call: another instruction's operand.
            }
        }
        return false;
    }
}
