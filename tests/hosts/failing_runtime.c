/*
 * A library that stands in for ONNX Runtime and hands every call on to the real one, whose path is in the environment
 * variable REAL_ONNXRUNTIME, except one: the call that failing_runtime_fail_at names returns an error instead. Only calls
 * that return a status count. x86-64.
 *
 *     cc -shared -fPIC failing_runtime.c -o libfailing.so -ldl
 */
#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The functions of OrtApi up to version 24, in their order: S returns a status. OrtApi only grows at its end. */
static const char RETURNS[] =
    "---SSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSS--------"
    "--SSSSSS--SSSSSSSS-SSS-SSSSSSSSS-SS-SSSSS--SSSSSSSSSSSSSS-SSSSSSSSS-SSSSSS-SSSSSSSSSSSSSSSSSSSSSSSSSS"
    "SSSSSSSS-SSS-SS-SS--SSSS--SSSSSSSSSSSSSSSSS-SSSSSSSSSS-SSS-SSSSSSSSSSSSSSSSSSSSSSSS-SS----SS-SS------"
    "-SSSSSS-----------SSS--SSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSS------SSSSSSSSS--SSSS-SSSS-SSSS"
    "SSS-SSSSSSSSS-S";
#define FUNCTIONS (sizeof RETURNS - 1)
#define API_VERSION 24
/* Bytes of the code of one entry below. */
#define ENTRY 16

typedef struct {
    const void *(*get_api)(unsigned version);
    const char *(*get_version)(void);
} api_base;

__attribute__((visibility("hidden"))) void *failing_real[FUNCTIONS];
static void *table[FUNCTIONS];
static long left, calls;
static int failed;
static api_base base;

/* Whether this call fails: NULL, or the status that it returns. */
__attribute__((visibility("hidden"), used)) void *failing_decide(size_t function)
{
    typedef void *create_status(int code, const char *message);
    create_status *create;
    char message[64];
    __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    if (__atomic_sub_fetch(&left, 1, __ATOMIC_SEQ_CST) != 0) {
        return NULL;
    }
    __atomic_store_n(&failed, (int)function, __ATOMIC_SEQ_CST);
    memcpy(&create, &failing_real[0], sizeof create);
    snprintf(message, sizeof message, "function %d of OrtApi fails on purpose", (int)function);
    return create(1, message);
}

/*
 * One entry for each function: it keeps all registers that hold arguments, asks failing_decide, and jumps to the real
 * function or returns the status.
 */
__asm__(".text\n"
        "failing_common:\n" /* the number of the function was pushed */
        "  push %rdi\n  push %rsi\n  push %rdx\n  push %rcx\n  push %r8\n  push %r9\n  push %rax\n"
        "  sub $128, %rsp\n"
        "  movups %xmm0, 0(%rsp)\n  movups %xmm1, 16(%rsp)\n  movups %xmm2, 32(%rsp)\n  movups %xmm3, 48(%rsp)\n"
        "  movups %xmm4, 64(%rsp)\n  movups %xmm5, 80(%rsp)\n  movups %xmm6, 96(%rsp)\n  movups %xmm7, 112(%rsp)\n"
        "  mov 184(%rsp), %rdi\n"
        "  mov %rsp, %rax\n  and $-16, %rsp\n  sub $16, %rsp\n  mov %rax, (%rsp)\n"
        "  call failing_decide\n"
        "  mov (%rsp), %rsp\n"
        "  mov %rax, %r11\n"
        "  movups 0(%rsp), %xmm0\n  movups 16(%rsp), %xmm1\n  movups 32(%rsp), %xmm2\n  movups 48(%rsp), %xmm3\n"
        "  movups 64(%rsp), %xmm4\n  movups 80(%rsp), %xmm5\n  movups 96(%rsp), %xmm6\n  movups 112(%rsp), %xmm7\n"
        "  add $128, %rsp\n"
        "  pop %rax\n  pop %r9\n  pop %r8\n  pop %rcx\n  pop %rdx\n  pop %rsi\n  pop %rdi\n"
        "  pop %r10\n" /* the number */
        "  test %r11, %r11\n"
        "  jz 1f\n"
        "  mov %r11, %rax\n"
        "  ret\n"
        "1: lea failing_real(%rip), %r11\n"
        "  jmp *(%r11, %r10, 8)\n"
        ".globl failing_entries\n.hidden failing_entries\n"
        ".balign 16\n"
        "failing_entries:\n"
        ".set number, 0\n"
        ".rept 512\n"
        "  .balign 16\n"
        "  pushq $number\n"
        "  jmp failing_common\n"
        "  .set number, number + 1\n"
        ".endr\n");
extern char failing_entries[] __attribute__((visibility("hidden")));

static const void *get_api(unsigned version)
{
    static const api_base *real;
    size_t at;
    if (real == NULL) {
        const char *path = getenv("REAL_ONNXRUNTIME");
        void *library = path == NULL ? NULL : dlopen(path, RTLD_NOW | RTLD_LOCAL);
        const api_base *(*real_base)(void) = NULL;
        void *symbol = library == NULL ? NULL : dlsym(library, "OrtGetApiBase");
        if (symbol == NULL) {
            fprintf(stderr, "REAL_ONNXRUNTIME: %s\n", dlerror());
            abort();
        }
        memcpy(&real_base, &symbol, sizeof real_base);
        real = real_base();
        base.get_version = real->get_version;
    }
    if (version == 0) {
        return NULL;
    }
    if (version > API_VERSION) {
        fprintf(stderr, "API version %u: the table of this program ends with %d\n", version, API_VERSION);
        abort();
    }
    if (table[0] == NULL) {
        const void *api = real->get_api(version);
        memcpy(failing_real, api, sizeof failing_real);
        memcpy(table, api, sizeof table);
        for (at = 0; at < FUNCTIONS; at++) {
            if (RETURNS[at] == 'S') {
                table[at] = failing_entries + at * ENTRY;
            }
        }
    }
    return table;
}

const void *OrtGetApiBase(void)
{
    get_api(0);
    base.get_api = get_api;
    return &base;
}

/* The call number `call` from now fails, 1 is the next; 0: none. */
void failing_runtime_fail_at(long call)
{
    __atomic_store_n(&failed, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&left, call, __ATOMIC_SEQ_CST);
}

/* Which function has failed since; 0: none. */
int failing_runtime_failed(void) { return __atomic_load_n(&failed, __ATOMIC_SEQ_CST); }

long failing_runtime_calls(void) { return __atomic_load_n(&calls, __ATOMIC_SEQ_CST); }
