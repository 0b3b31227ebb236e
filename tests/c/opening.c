/* The progress of opening a model, and its cancel. */
#include "check.h"

struct watch {
    uint32_t calls, done, total;
    int ended;
    /* Cancels at this call; 0 never. */
    uint32_t cancel_at;
    detailflow_cancel *cancel;
};

static void watch_opening(void *user, uint32_t done, uint32_t total, const char *stage)
{
    struct watch *watch = (struct watch *)user;
    CHECK(total > 0 && done <= total && stage != NULL);
    CHECK(!watch->ended && done == watch->calls && total >= watch->total);
    CHECK((stage[0] == 0) == (done == total));
    watch->calls++;
    watch->done = done;
    watch->total = total;
    watch->ended = done == total;
    if (watch->calls == watch->cancel_at) {
        OK(detailflow_cancel_trigger(watch->cancel, NULL));
    }
}

static void progress_tells_every_stage(const char *bundle, uint32_t *stages)
{
    detailflow_model_options *options = NULL;
    detailflow_model *model = NULL;
    struct watch watch;
    memset(&watch, 0, sizeof watch);
    OK(detailflow_model_options_new(&options, NULL));
    OK(detailflow_model_options_set_threads(options, 1));
    OK(detailflow_model_options_set_open_progress(options, watch_opening, &watch));
    OK(detailflow_model_open(bundle, options, &model, NULL));
    CHECK(watch.ended && watch.calls == watch.total + 1 && watch.total >= 2);
    *stages = watch.total;
    detailflow_model_free(model);

    /* Without the callback nobody is told. */
    watch.calls = 0;
    OK(detailflow_model_options_set_open_progress(options, NULL, NULL));
    OK(detailflow_model_open(bundle, options, &model, NULL));
    CHECK(watch.calls == 0);
    detailflow_model_free(model);
    detailflow_model_options_free(options);
}

/* Cancelled at each stage, and before the first: CANCELLED, and the next opening works. */
static void cancel_stops_the_opening(const char *bundle, uint32_t stages)
{
    uint32_t at;
    for (at = 0; at <= stages; at++) {
        detailflow_model_options *options = NULL;
        detailflow_model *model = NULL;
        detailflow_error error;
        struct watch watch;
        memset(&error, 0, sizeof error);
        error.struct_size = sizeof error;
        memset(&watch, 0, sizeof watch);
        watch.cancel_at = at;
        OK(detailflow_cancel_new(&watch.cancel, NULL));
        OK(detailflow_model_options_new(&options, NULL));
        OK(detailflow_model_options_set_threads(options, 1));
        OK(detailflow_model_options_set_cancel(options, watch.cancel));
        OK(detailflow_model_options_set_open_progress(options, watch_opening, &watch));
        if (at == 0) {
            OK(detailflow_cancel_trigger(watch.cancel, NULL));
        }
        FAILS(detailflow_model_open(bundle, options, &model, &error), DETAILFLOW_STATUS_CANCELLED, "cancel");
        CHECK(error.status == DETAILFLOW_STATUS_CANCELLED && model == NULL && watch.calls <= (at == 0 ? 1 : at));
        /* It stays cancelled, also when its handle is gone; without it the same options open. */
        detailflow_cancel_free(watch.cancel);
        memset(&watch, 0, sizeof watch);
        FAILS(detailflow_model_open(bundle, options, &model, NULL), DETAILFLOW_STATUS_CANCELLED, "cancel");
        memset(&watch, 0, sizeof watch);
        OK(detailflow_model_options_set_cancel(options, NULL));
        OK(detailflow_model_open(bundle, options, &model, NULL));
        detailflow_model_free(model);
        detailflow_model_options_free(options);
    }
}

int main(int argc, char **argv)
{
    const char *bundle = check_bundle(argc, argv);
    uint32_t stages = 0;
    progress_tells_every_stage(bundle, &stages);
    cancel_stops_the_opening(bundle, stages);
    return 0;
}
