/*
 * Helpers of the C++ test programs, on top of tests/c/check.h: values of results, and expected errors.
 */
#ifndef CHECK_HPP
#define CHECK_HPP

#include <check.h>
#include <detailflow.hpp>

/* The value of a result; a failed check when there is none. */
#define GOOD(call) check_good(__FILE__, __LINE__, #call, call)

/* A result without a value, with this status and a message that contains this text ("" is any). */
#define BAD(call, status, text) check_bad(__FILE__, __LINE__, #call, (call), status, text)

template <class T>
T check_good(const char *file, int line, const char *what, detailflow::Result<T> result)
{
    if (!result) {
        fprintf(stderr, "%s: %s\n", detailflow::status_name(result.status()), result.message());
        check_failed(file, line, what, "no value");
    }
    if constexpr (!std::is_void_v<T>) {
        return std::move(result).value();
    }
}

template <class T>
void check_bad(const char *file, int line, const char *what, const detailflow::Result<T> &result,
               detailflow::Status status, const char *text)
{
    if (result.ok() || result.status() != status || result.error().status != status) {
        fprintf(stderr, "%s: %s\n", detailflow::status_name(result.status()), result.message());
        check_failed(file, line, what, "another status");
    }
    if (result.message()[0] == 0 || strstr(result.message(), text) == nullptr) {
        fprintf(stderr, "\"%s\" is not in: %s\n", text, result.message());
        check_failed(file, line, what, "another message");
    }
}

#endif
