/*
 * Included before tests/c/exit_in_flight.c: `exit` and `atexit` of the universal C runtime, as a program of Visual C++ has them
 * (/MD); those of mingw-w64 are in msvcrt.dll.
 */
#ifndef UCRT_H
#define UCRT_H

#include <stdlib.h>
#include <windows.h>

typedef void (*ucrt_any)(void);

static ucrt_any ucrt_function(const char *name)
{
    const ucrt_any function = (ucrt_any)GetProcAddress(LoadLibraryA("ucrtbase.dll"), name);
    if (function == NULL) {
        abort();
    }
    return function;
}

__attribute__((noreturn)) static void ucrt_exit(int status)
{
    ((void (*)(int))ucrt_function("exit"))(status);
    abort();
}

static int ucrt_atexit(ucrt_any handler) { return ((int (*)(ucrt_any))ucrt_function("_crt_atexit"))(handler); }

#define exit(status) ucrt_exit(status)
#define atexit(handler) ucrt_atexit(handler)

#endif
