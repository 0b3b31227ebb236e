/*
 * Preloaded into Wine: asks Linux for AMX tiles, which ONNX Runtime for Windows uses where the CPU has them, as Windows needs no
 * request. Without it such a host ends the program with an illegal instruction.
 */
#include <sys/syscall.h>
#include <unistd.h>

__attribute__((constructor)) static void ask(void)
{
    (void)syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* XFEATURE_XTILEDATA */);
}
