// What the tests are written with. SPDX-License-Identifier: MIT OR Apache-2.0
using System;
using DetailFlow;

static class Check
{
    internal static void That(bool condition, string what)
    {
        if (!condition)
        {
            throw new InvalidOperationException("not so: " + what);
        }
    }

    internal static void Equal<T>(T expected, T actual, string what)
    {
        if (!Equals(expected, actual))
        {
            throw new InvalidOperationException(what + ": " + actual + " instead of " + expected);
        }
    }

    internal static T Throws<T>(Action action) where T : Exception
    {
        try
        {
            action();
        }
        catch (T error)
        {
            return error;
        }
        throw new InvalidOperationException("no " + typeof(T).Name + " was thrown");
    }

    internal static DetailFlowException Fails(Status status, Action action)
    {
        var error = Throws<DetailFlowException>(action);
        Equal(status, error.Status, "status of \"" + error.Message + "\"");
        return error;
    }
}
