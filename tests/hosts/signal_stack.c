/*
 * Signal stacks of 8 KiB, as programs of before AVX-512 have them.
 *
 *     signal_stack BUNDLE before     after loading, opening and drawing one image, they can still be set
 *     signal_stack BUNDLE kept       a thread that has one keeps it, draws many images beside it, and takes a signal on it
 */
#include "check.h"

#include <signal.h>

#define SMALL 8192

static int set_small(void)
{
    static char memory[SMALL];
    stack_t stack;
    memset(&stack, 0, sizeof stack);
    stack.ss_sp = memory;
    stack.ss_size = SMALL;
    return sigaltstack(&stack, NULL) == 0;
}

static void unset(void)
{
    stack_t stack;
    memset(&stack, 0, sizeof stack);
    stack.ss_flags = SS_DISABLE;
    CHECK(sigaltstack(&stack, NULL) == 0);
}

static volatile sig_atomic_t came;

static void on_signal(int number)
{
    (void)number;
    came = 1;
}

static detailflow_model *open_form(const char *bundle, const char *precision, const char *form)
{
    detailflow_model_options *options = NULL;
    detailflow_model *model = NULL;
    OK(detailflow_model_options_new(&options, NULL));
    OK(detailflow_model_options_set_threads(options, 1));
    OK(detailflow_model_options_set_precision(options, precision));
    OK(detailflow_model_options_set_form(options, form));
    OK(detailflow_model_open(bundle, options, &model, NULL));
    detailflow_model_options_free(options);
    return model;
}

int main(int argc, char **argv)
{
    const char *bundle = check_bundle(argc, argv);
    const int kept = argc > 2 && strcmp(argv[2], "kept") == 0;
    struct sigaction action;
    detailflow_model *model;
    size_t count, bytes;
    uint32_t *tokens;

    /* Where the CPU's state is too large at all, nothing can be said. */
    if (!set_small()) {
        printf("SKIPPED: this system never allows such a stack\n");
        return 0;
    }
    if (kept) {
        detailflow_request *request;
        detailflow_generation *generation = NULL;
        memset(&action, 0, sizeof action);
        action.sa_handler = on_signal;
        action.sa_flags = SA_ONSTACK;
        CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
        model = open_form(bundle, "int8", "native");
        request = check_request(model, 64, 1);
        OK(detailflow_generate(request, &generation));
        CHECK(raise(SIGUSR1) == 0 && came);
        CHECK(set_small());
        detailflow_generation_free(generation);
        detailflow_request_free(request);
        detailflow_model_free(model);
        return 0;
    }
    unset();
    OK(detailflow_runtime_init(NULL, NULL));
    CHECK(set_small());
    unset();
    model = open_form(bundle, "int8", "native");
    CHECK(set_small());
    unset();
    tokens = check_draw(model, 1, &count);
    CHECK(set_small());
    unset();
    /* Now with tiles, where the CPU has them. */
    free(check_decode(model, tokens, count, &bytes));
    free(tokens);
    detailflow_model_free(model);
    return 0;
}
