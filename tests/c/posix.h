/*
 * What the programs use of POSIX: from the system, or for Windows from here.
 */
#ifndef POSIX_H
#define POSIX_H

#include "check.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(_WIN32)
#include <direct.h>
#include <windows.h>
/* After windows.h. */
#include <psapi.h>

/* Changes the environment of the C runtime and of the process. */
static CHECK_UNUSED int setenv(const char *name, const char *value, int overwrite)
{
    (void)overwrite;
    return _putenv_s(name, value);
}

static CHECK_UNUSED int unsetenv(const char *name) { return _putenv_s(name, ""); }

#define mkdir(path, mode) _mkdir(path)

#else
#include <dlfcn.h>
#endif

/* Bytes of this process that are in memory. */
static CHECK_UNUSED size_t posix_resident(void)
{
#if defined(_WIN32)
    PROCESS_MEMORY_COUNTERS counters;
    CHECK(GetProcessMemoryInfo(GetCurrentProcess(), &counters, sizeof counters));
    return counters.WorkingSetSize;
#else
    size_t pages[2] = {0, 0};
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL && fscanf(file, "%zu %zu", &pages[0], &pages[1]) == 2);
    CHECK(fclose(file) == 0);
    return pages[1] * (size_t)sysconf(_SC_PAGESIZE);
#endif
}

static CHECK_UNUSED int posix_is_absolute(const char *path)
{
#if defined(_WIN32)
    return path[0] != 0 && path[1] == ':' && path[2] == '\\';
#else
    return path[0] == '/';
#endif
}

/* Opens a file such that no other program may, until posix_let_go. */
static CHECK_UNUSED void *posix_hold(const char *path)
{
#if defined(_WIN32)
    void *file = CreateFileA(path, GENERIC_READ, 0, NULL, OPEN_EXISTING, 0, NULL);
    CHECK(file != INVALID_HANDLE_VALUE);
#else
    void *file = fopen(path, "rb");
    CHECK(file != NULL);
#endif
    return file;
}

static CHECK_UNUSED void posix_let_go(void *file)
{
#if defined(_WIN32)
    CHECK(CloseHandle(file));
#else
    CHECK(fclose((FILE *)file) == 0);
#endif
}

/* Loads a shared library by its path, UTF-8. Fails the check when there is none. */
static CHECK_UNUSED void *posix_load(const char *path)
{
    void *library;
#if defined(_WIN32)
    wchar_t wide[4096];
    CHECK(MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, 4096) > 0);
    library = (void *)LoadLibraryW(wide);
#else
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
#endif
    CHECK(library != NULL);
    return library;
}

/* A function of a library, to be written to a pointer of its type. */
static CHECK_UNUSED void posix_find(void *library, const char *name, void *function, size_t size)
{
#if defined(_WIN32)
    FARPROC found = GetProcAddress((HMODULE)library, name);
#else
    void *found = dlsym(library, name);
#endif
    CHECK(found != NULL && size == sizeof found);
    memcpy(function, &found, size);
}

static CHECK_UNUSED void posix_unload(void *library)
{
#if defined(_WIN32)
    CHECK(FreeLibrary((HMODULE)library));
#else
    CHECK(dlclose(library) == 0);
#endif
}

/* Whether a library of this path is loaded. */
static CHECK_UNUSED int posix_is_loaded(const char *path)
{
#if defined(_WIN32)
    wchar_t wide[4096];
    CHECK(MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, 4096) > 0);
    return GetModuleHandleW(wide) != NULL;
#else
    void *library = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
    return library != NULL && dlclose(library) == 0;
#endif
}

#endif
