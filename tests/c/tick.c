/*
 * Workers without threads: ticks, priorities, paused and held jobs, targets, and freeing at any moment.
 *
 *     tick BUNDLE [few]
 */
#include "check.h"

static detailflow_worker *start(uint32_t order)
{
    detailflow_worker_options *options = NULL;
    detailflow_worker *worker = NULL;
    OK(detailflow_worker_options_new(&options, NULL));
    OK(detailflow_worker_options_set_threads(options, 0));
    INVALID(detailflow_worker_options_set_order(options, 3), "order is 3; it must be one of");
    OK(detailflow_worker_options_set_order(options, order));
    OK(detailflow_worker_new(options, &worker, NULL));
    detailflow_worker_options_free(options);
    return worker;
}

static detailflow_tick_report tick(const detailflow_worker *worker, uint64_t budget_ns)
{
    detailflow_tick_report report;
    memset(&report, 0x55, sizeof report);
    report.struct_size = sizeof report;
    OK(detailflow_worker_tick(worker, budget_ns, &report));
    CHECK(report.struct_size == sizeof report && report.unit_count >= report.step_count + report.decode_count);
    CHECK(report.longest_unit_ns <= report.time_ns);
    return report;
}

static detailflow_event_info info_of(const detailflow_event *event)
{
    detailflow_event_info info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    OK(detailflow_event_get_info(event, &info, NULL));
    return info;
}

/* Ticks until there is an event, and gives it. */
static detailflow_event *next(const detailflow_worker *worker)
{
    detailflow_event *event = NULL;
    for (;;) {
        OK(detailflow_worker_poll(worker, &event));
        if (event != NULL) {
            return event;
        }
        CHECK(tick(worker, 0).unit_count == 1);
    }
}

static uint64_t submit(const detailflow_worker *worker, const detailflow_request *request,
                       const detailflow_submit_options *options)
{
    uint64_t job = 0;
    OK(detailflow_worker_submit_with(worker, request, options, &job));
    CHECK(job > 0);
    return job;
}

static void has_tokens(const detailflow_event *event, const uint32_t *tokens, size_t count)
{
    uint32_t found[4096];
    size_t there = 0;
    OK(detailflow_event_get_tokens(event, 0, found, 4096, &there, NULL));
    CHECK(there == count && memcmp(found, tokens, count * sizeof *tokens) == 0);
}

static void ends(const detailflow_worker *worker, uint32_t kind, const uint32_t *tokens, size_t count)
{
    for (;;) {
        detailflow_event *event = next(worker);
        detailflow_event_info info = info_of(event);
        CHECK(info.kind == kind || info.kind == DETAILFLOW_EVENT_KIND_LEVEL);
        if (info.kind == kind && tokens != NULL) {
            has_tokens(event, tokens, count);
        }
        detailflow_event_free(event);
        if (info.kind == kind) {
            return;
        }
    }
}

static void states(const detailflow_request *request)
{
    detailflow_worker *threaded = NULL, *worker = start(DETAILFLOW_WORKER_ORDER_DEFAULT);
    detailflow_tick_report report;
    detailflow_event *event = NULL;
    OK(detailflow_worker_new(NULL, &threaded, NULL));
    memset(&report, 0, sizeof report);
    INVALID(detailflow_worker_tick(worker, 0, &report), "struct_size is 0");
    report.struct_size = sizeof report;
    FAILS(detailflow_worker_tick(threaded, 0, &report), DETAILFLOW_STATUS_WRONG_STATE, "only one with 0 threads");
    INVALID(detailflow_worker_tick(NULL, 0, &report), "worker is NULL");
    FAILS(detailflow_worker_wait(worker, UINT64_MAX, &event), DETAILFLOW_STATUS_WRONG_STATE, "cannot be waited for");
    OK(detailflow_worker_tick(worker, UINT64_MAX, NULL));
    CHECK(tick(worker, UINT64_MAX).unit_count == 0);
    INVALID(detailflow_worker_set_priority(worker, 1, 1), "job 1 was never submitted");
    INVALID(detailflow_worker_pause(worker, 0), "job 0 was never submitted");
    INVALID(detailflow_worker_resume(worker, 0), "job 0 was never submitted");
    INVALID(detailflow_worker_continue(worker, 0, 0), "job 0 was never submitted");
    OK(detailflow_worker_submit(worker, request, 1, DETAILFLOW_SUBMIT_FLAG_HOLD, NULL));
    INVALID(detailflow_worker_submit(worker, request, 1, 8, NULL), "flags is 0x8");
    OK(detailflow_worker_close(worker, UINT64_MAX));
    FAILS(detailflow_worker_submit_with(worker, request, NULL, NULL), DETAILFLOW_STATUS_WRONG_STATE, "closed");
    detailflow_worker_free(worker);
    detailflow_worker_free(threaded);
}

static void scheduling(const detailflow_model *model, const detailflow_request *request)
{
    size_t count = 0;
    uint32_t *tokens = check_draw(model, 7, &count);
    const detailflow_level coarse = check_level(model, 0);
    detailflow_worker *worker = start(DETAILFLOW_WORKER_ORDER_PRIORITY_FIRST);
    detailflow_submit_options *options = NULL;
    detailflow_request *short_request = check_request(model, 1, 7);
    detailflow_event *event = NULL;
    uint64_t first = 0, second = 0;
    OK(detailflow_submit_options_new(&options, NULL));
    OK(detailflow_submit_options_set_user(options, 4711));
    INVALID(detailflow_submit_options_set_flags(options, 8), "flags is 0x8");
    OK(detailflow_submit_options_set_flags(options, DETAILFLOW_SUBMIT_FLAG_LAST_ONLY | DETAILFLOW_SUBMIT_FLAG_HOLD));
    INVALID(detailflow_submit_options_set_priority(options, (float)(0.0 / strtod("0", NULL))), "priority is NaN");
    OK(detailflow_submit_options_set_priority(options, -2.5f));
    {
        char message[64];
        OK(detailflow_submit_options_get_message(options, message, sizeof message, NULL));
        CHECK(strcmp(message, "priority is NaN") == 0);
    }
    OK(detailflow_request_set_level_size(short_request, coarse.level_size));
    first = submit(worker, short_request, options);
    second = submit(worker, request, NULL);
    /* The second has the higher priority until it is paused. */
    CHECK(tick(worker, 0).unit_count == 1);
    OK(detailflow_worker_pause(worker, second));
    INVALID(detailflow_worker_set_priority(worker, second, (float)(0.0 / strtod("0", NULL))), "NaN");
    OK(detailflow_worker_set_priority(worker, first, 10));
    event = next(worker);
    CHECK(info_of(event).job == first && info_of(event).user == 4711);
    CHECK(info_of(event).kind == DETAILFLOW_EVENT_KIND_LEVEL && info_of(event).level_size == coarse.level_size);
    has_tokens(event, tokens, coarse.token_count);
    detailflow_event_free(event);
    CHECK(tick(worker, UINT64_MAX).parked_count == 2);
    INVALID(detailflow_worker_continue(worker, first, 4711), "no 4711 px level");
    OK(detailflow_worker_continue(worker, first, 0));
    ends(worker, DETAILFLOW_EVENT_KIND_DONE, tokens, count);
    OK(detailflow_worker_resume(worker, second));
    ends(worker, DETAILFLOW_EVENT_KIND_DONE, tokens, count);
    /* No effect once they have ended. */
    OK(detailflow_worker_continue(worker, first, 0));
    OK(detailflow_worker_pause(worker, first));
    CHECK(tick(worker, UINT64_MAX).parked_count == 0);
    detailflow_submit_options_free(options);
    detailflow_request_free(short_request);
    detailflow_worker_free(worker);
    free(tokens);
}

/* One image into a mip chain with strides and formats of its own. */
static void targets(const detailflow_model *model, const detailflow_request *request, uint32_t threads)
{
    enum { MIPS = 3, GAP = 12 };
    const detailflow_model_info info = check_info(model);
    const uint32_t formats[MIPS] = {DETAILFLOW_FORMAT_RGBA8, DETAILFLOW_FORMAT_RGB8, DETAILFLOW_FORMAT_RGBA32F};
    detailflow_image mips[MIPS];
    detailflow_submit_options *options = NULL;
    detailflow_worker *worker = NULL;
    detailflow_worker_options *how = NULL;
    detailflow_event *event = NULL;
    uint32_t at;
    size_t count = 0;
    OK(detailflow_worker_options_new(&how, NULL));
    OK(detailflow_worker_options_set_threads(how, threads));
    OK(detailflow_worker_new(how, &worker, NULL));
    detailflow_worker_options_free(how);
    for (at = 0; at < MIPS; at++) {
        const uint32_t size = info.image_size >> at;
        const size_t stride = size * check_pixel_bytes(formats[at]) + GAP;
        /* The exact length: whatever is written beyond is seen by the sanitizers. */
        const size_t length = stride * (size - 1) + stride - GAP;
        mips[at] = check_image(formats[at], size, malloc(length), length);
        mips[at].stride = stride;
        memset(mips[at].pixels, 0xA5, length);
    }
    OK(detailflow_submit_options_new(&options, NULL));
    OK(detailflow_submit_options_set_target(options, 0, mips, MIPS));
    INVALID(detailflow_submit_options_set_target(options, 1, mips, 1), "the memory of two targets overlaps");
    mips[1].height--;
    INVALID(detailflow_submit_options_set_target(options, 0, mips, MIPS), "target 1: ");
    mips[1].height++;
    mips[2].capacity--;
    INVALID(detailflow_submit_options_set_target(options, 0, mips, MIPS), "target 2: ");
    mips[2].capacity++;
    mips[0].stride = 3;
    INVALID(detailflow_submit_options_set_target(options, 0, mips, MIPS), "a stride of 3 bytes");
    mips[0].stride = info.image_size * 4 + GAP;
    mips[0].format = 4711;
    INVALID(detailflow_submit_options_set_target(options, 0, mips, MIPS), "format is 4711");
    mips[0].format = DETAILFLOW_FORMAT_RGBA8;
    INVALID(detailflow_submit_options_set_target(options, 0, NULL, 1), "is NULL");
    OK(detailflow_submit_options_set_target(options, 0, NULL, 0));
    OK(detailflow_submit_options_set_target(options, 1, mips, MIPS));
    INVALID(detailflow_worker_submit_with(worker, request, options, NULL), "the request has 1 images");
    OK(detailflow_submit_options_set_target(options, 1, NULL, 0));
    OK(detailflow_submit_options_set_target(options, 0, mips, MIPS));
    submit(worker, request, options);
    for (;;) {
        detailflow_event_info what;
        if (threads == 0) {
            event = next(worker);
        } else {
            OK(detailflow_worker_wait(worker, UINT64_MAX, &event));
        }
        what = info_of(event);
        CHECK(what.decoded == 1);
        if (what.kind == DETAILFLOW_EVENT_KIND_LEVEL && threads == 0) {
            for (at = 0; at < MIPS; at++) {
                if (mips[at].width == what.level_size) {
                    const size_t row = what.level_size * check_pixel_bytes(formats[at]);
                    unsigned char *pixels = malloc(row * what.level_size);
                    detailflow_image image = check_image(formats[at], what.level_size, pixels, row * what.level_size);
                    uint32_t y;
                    OK(detailflow_event_decode_level(event, 0, &image, NULL));
                    for (y = 0; y < what.level_size; y++) {
                        const unsigned char *line = (const unsigned char *)mips[at].pixels + y * mips[at].stride;
                        CHECK(memcmp(line, pixels + y * row, row) == 0);
                        CHECK(y + 1 == what.level_size || (line[row] == 0xA5 && line[row + GAP - 1] == 0xA5));
                    }
                    free(pixels);
                    count++;
                }
            }
        }
        detailflow_event_free(event);
        if (what.kind == DETAILFLOW_EVENT_KIND_DONE) {
            break;
        }
    }
    CHECK(threads > 0 || count >= 1);
    for (at = 0; at < MIPS; at++) {
        free(mips[at].pixels);
    }
    detailflow_submit_options_free(options);
    detailflow_worker_free(worker);
}

struct heard {
    detailflow_worker *worker;
    const detailflow_model *model;
    uint32_t levels, ends, frees;
};

static void DETAILFLOW_CALL hears(void *user, detailflow_event *event)
{
    struct heard *heard = user;
    const detailflow_event_info info = info_of(event);
    detailflow_event_free(event);
    if (info.kind == DETAILFLOW_EVENT_KIND_LEVEL) {
        heard->levels++;
        FAILS(detailflow_worker_tick(heard->worker, 0, NULL), DETAILFLOW_STATUS_BUSY, "another tick");
    } else {
        heard->ends++;
    }
    if (heard->frees) {
        heard->frees = 0;
        detailflow_worker_free(heard->worker);
    }
}

/* Freed with jobs in every state; and inside its own callback, within a tick. */
static void frees(const detailflow_request *request, uint32_t rounds)
{
    uint32_t round;
    for (round = 0; round < rounds; round++) {
        struct heard heard;
        uint32_t at;
        uint64_t job = 0;
        memset(&heard, 0, sizeof heard);
        heard.worker = start(DETAILFLOW_WORKER_ORDER_DEFAULT);
        OK(detailflow_worker_set_callback(heard.worker, hears, &heard));
        for (at = 0; at < 4; at++) {
            OK(detailflow_worker_submit(heard.worker, request, at, DETAILFLOW_SUBMIT_FLAG_DECODE, &job));
        }
        for (at = 0; at < round; at++) {
            CHECK(tick(heard.worker, 0).unit_count <= 1);
        }
        if (heard.ends == 0) {
            OK(detailflow_worker_pause(heard.worker, job));
        }
        if (round % 2 == 0) {
            detailflow_worker_free(heard.worker);
            CHECK(heard.ends == 4);
        } else {
            heard.frees = 1;
            OK(detailflow_worker_resume(heard.worker, job));
            while (heard.frees && heard.ends < 4) {
                OK(detailflow_worker_tick(heard.worker, UINT64_C(1000000000), NULL));
            }
            if (heard.frees) {
                detailflow_worker_free(heard.worker);
            }
        }
    }
}

int main(int argc, char **argv)
{
    detailflow_model *model = check_open(check_bundle(argc, argv), 1);
    detailflow_request *request = check_request(model, 1, 7);
    states(request);
    scheduling(model, request);
    targets(model, request, 0);
    targets(model, request, 1);
    frees(request, argc > 2 ? 6 : 40);
    detailflow_request_free(request);
    detailflow_model_free(model);
    printf("tick: all passed\n");
    return 0;
}
