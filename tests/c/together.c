/*
 * Several programs in one process, one after the other: under valgrind most of the time goes into starting one.
 *
 *     together BUNDLE
 */
#include "check.h"

#define main levels_main
#include "levels.c"
#undef main
#define main forks_main
#include "forks.c"
#undef main
#define main vary_main
#include "vary.c"
#undef main
#define main score_main
#include "score.c"
#undef main
#define main best_main
#include "best.c"
#undef main
#define main cost_main
#include "cost.c"
#undef main
#define main memory_main
#include "memory.c"
#undef main
#define main misuse_main
#include "misuse.c"
#undef main

static int together(int (*program)(int, char **), const char *name, char *bundle, const char *argument)
{
    char *arguments[3];
    int status;
    arguments[0] = (char *)(void *)name;
    arguments[1] = bundle;
    arguments[2] = (char *)(void *)argument;
    status = program(argument == NULL ? 2 : 3, arguments);
    printf("%s: %d\n", name, status);
    return status;
}

int main(int argc, char **argv)
{
    (void)check_bundle(argc, argv);
    return together(levels_main, "levels", argv[1], NULL) || together(forks_main, "forks", argv[1], "few") ||
           together(vary_main, "vary", argv[1], NULL) || together(score_main, "score", argv[1], NULL) ||
           together(best_main, "best", argv[1], NULL) || together(cost_main, "cost", argv[1], NULL) ||
           together(memory_main, "memory", argv[1], NULL) || together(misuse_main, "misuse", argv[1], NULL);
}
