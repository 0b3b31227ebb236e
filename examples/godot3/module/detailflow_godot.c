/*
 * A GDNative module for Godot 3: the class DetailFlow of GDScript, over a worker without threads.
 *
 *     open(path)                           "res://sprites.dflow", another path, or "" for the default model
 *     submit(class_name, seed, priority)   starts a picture; returns the number of its job, 0 after an error
 *     set_priority(job, priority), cancel(job)
 *     tick(milliseconds)                   generates for so long, at least one step, and emits the signals
 *     signal level_ready(job, size, image), job_ended(job, message)
 *     get_message()                        why the last call failed
 *     get_classes(), get_levels(), get_pending(), close()
 *
 * Everything runs on the thread that calls; README.md has the commands to build it.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "values.h"
#include <detailflow.h>
#include <stdio.h>

const godot_gdnative_core_api_struct *godot;
static const godot_gdnative_ext_nativescript_api_struct *scripts;

typedef struct {
    detailflow_model *model;
    detailflow_worker *worker;
    detailflow_request *request;
    detailflow_error error;
} Flow;

/* GDN_EXPORT is nothing on Linux, where other symbols are hidden. */
#ifdef _WIN32
#define EXPORTED __declspec(dllexport)
#else
#define EXPORTED __attribute__((visibility("default")))
#endif
#define METHOD(name)                                                                                                   \
    static godot_variant name(godot_object *self, void *method_data, void *data, int count, godot_variant **arguments)
#define UNUSED (void)self, (void)method_data, (void)data, (void)count, (void)arguments
/* Image.FORMAT_RGBA8 */
enum { FORMAT_RGBA8 = 5 };

/* Keeps the message of a failed call. Returns whether it succeeded. */
static godot_bool good(Flow *flow, detailflow_status status)
{
    if (status != DETAILFLOW_STATUS_OK) {
        flow->error.status = status;
        snprintf(flow->error.message, sizeof flow->error.message, "%s: %s", detailflow_status_name(status),
                 detailflow_last_message());
    }
    return status == DETAILFLOW_STATUS_OK;
}

static godot_bool wrong(Flow *flow, const char *message)
{
    flow->error.status = DETAILFLOW_STATUS_WRONG_STATE;
    snprintf(flow->error.message, sizeof flow->error.message, "%s", message);
    return GODOT_FALSE;
}

static godot_bool is_open(Flow *flow)
{
    return flow->worker != NULL || wrong(flow, "DetailFlow is not open: call open() first");
}

static void *create(godot_object *self, void *method_data)
{
    Flow *flow = calloc(1, sizeof *flow);
    (void)self, (void)method_data;
    return flow;
}

static void close_all(Flow *flow)
{
    detailflow_worker_free(flow->worker);
    detailflow_request_free(flow->request);
    detailflow_model_free(flow->model);
    flow->worker = NULL;
    flow->request = NULL;
    flow->model = NULL;
}

static void destroy(godot_object *self, void *method_data, void *data)
{
    (void)self, (void)method_data;
    close_all(data);
    free(data);
}

/* Reads from Godot's File, which reads from exported packs too. Called within detailflow_model_open_reader, on its
 * thread. */
static size_t DETAILFLOW_CALL read_at(void *file, uint64_t offset, void *buffer, size_t count)
{
    godot_variant place = integer((int64_t)offset), size = integer((int64_t)count), bytes;
    godot_pool_byte_array array;
    godot_pool_byte_array_read_access *access;
    size_t got;
    godot_variant ignored = call(file, "_File", "seek", &place, 1);
    godot->godot_variant_destroy(&ignored);
    bytes = call(file, "_File", "get_buffer", &size, 1);
    array = godot->godot_variant_as_pool_byte_array(&bytes);
    godot->godot_variant_destroy(&bytes);
    got = (size_t)godot->godot_pool_byte_array_size(&array);
    if (got == count) {
        access = godot->godot_pool_byte_array_read(&array);
        memcpy(buffer, godot->godot_pool_byte_array_read_access_ptr(access), count);
        godot->godot_pool_byte_array_read_access_destroy(access);
    }
    godot->godot_pool_byte_array_destroy(&array);
    return got;
}

/* Opens a file of Godot's file system: res:// and user://. */
static godot_bool open_resource(Flow *flow, const char *path, const detailflow_model_options *options)
{
    enum { READ = 1 };
    godot_object *file = godot->godot_get_class_constructor("_File")();
    godot_variant owner = object(file), arguments[2];
    detailflow_reader reader = {0};
    godot_bool opened = GODOT_FALSE;

    arguments[0] = text(path);
    arguments[1] = integer(READ);
    if (call_number(file, "_File", "open", arguments, 2) != GODOT_OK) {
        snprintf(flow->error.message, sizeof flow->error.message, "%s: Godot cannot open it; is it exported?", path);
    } else {
        reader.struct_size = sizeof reader;
        reader.size = (uint64_t)call_number(file, "_File", "get_len", NULL, 0);
        reader.read_at = read_at;
        reader.user = file;
        opened = good(flow, detailflow_model_open_reader(&reader, options, &flow->model, NULL));
    }
    godot->godot_variant_destroy(&owner);
    return opened;
}

static godot_bool open_model(Flow *flow, const char *path)
{
    detailflow_model_options *options = NULL;
    detailflow_worker_options *worker_options = NULL;
    godot_bool opened = good(flow, detailflow_model_options_new(&options, NULL)) &&
                        good(flow, detailflow_worker_options_new(&worker_options, NULL)) &&
                        /* One thread gives the steadiest frame times. */
                        good(flow, detailflow_model_options_set_threads(options, 1)) &&
                        good(flow, detailflow_model_options_set_encoder(options, 0)) &&
                        good(flow, detailflow_worker_options_set_threads(worker_options, 0));
    if (opened && (strncmp(path, "res://", 6) == 0 || strncmp(path, "user://", 7) == 0)) {
        opened = open_resource(flow, path, options);
    } else if (opened) {
        opened = good(flow, detailflow_model_open(path[0] != 0 ? path : NULL, options, &flow->model, NULL));
    }
    opened = opened && good(flow, detailflow_request_new(flow->model, &flow->request)) &&
             good(flow, detailflow_worker_new(worker_options, &flow->worker, NULL));
    detailflow_worker_options_free(worker_options);
    detailflow_model_options_free(options);
    if (!opened) {
        close_all(flow);
    }
    return opened;
}

METHOD(flow_open)
{
    Flow *flow = data;
    char *path = count == 1 ? utf8_of(arguments[0]) : NULL;
    godot_bool opened = GODOT_FALSE;
    UNUSED;
    if (flow->worker != NULL) {
        wrong(flow, "DetailFlow is open: call close() first");
    } else if (path == NULL) {
        wrong(flow, "open(path): one argument is needed");
    } else {
        opened = open_model(flow, path);
    }
    free(path);
    return truth(opened);
}

METHOD(flow_close)
{
    UNUSED;
    close_all(data);
    return nothing();
}

METHOD(flow_get_message)
{
    UNUSED;
    return text(((Flow *)data)->error.message);
}

METHOD(flow_submit)
{
    Flow *flow = data;
    detailflow_submit_options *options = NULL;
    uint64_t job = 0;
    uint32_t class_index = 0;
    char *name = NULL;
    UNUSED;
    if (count != 3) {
        wrong(flow, "submit(class_name, seed, priority): three arguments are needed");
    } else if (is_open(flow) && (name = utf8_of(arguments[0])) != NULL) {
        const int64_t seed = godot->godot_variant_as_int(arguments[1]);
        const float priority = (float)godot->godot_variant_as_real(arguments[2]);
        if (good(flow, detailflow_model_find_class(flow->model, name, &class_index)) &&
            good(flow, detailflow_request_set_class(flow->request, class_index)) &&
            good(flow, detailflow_request_set_seed(flow->request, (uint64_t)seed)) &&
            good(flow, detailflow_submit_options_new(&options, NULL)) &&
            good(flow, detailflow_submit_options_set_flags(options, DETAILFLOW_SUBMIT_FLAG_DECODE)) &&
            good(flow, detailflow_submit_options_set_priority(options, priority))) {
            good(flow, detailflow_worker_submit_with(flow->worker, flow->request, options, &job));
        }
        detailflow_submit_options_free(options);
        free(name);
    }
    return integer((int64_t)job);
}

METHOD(flow_set_priority)
{
    Flow *flow = data;
    UNUSED;
    return truth(
        count == 2 && is_open(flow) &&
        good(flow, detailflow_worker_set_priority(flow->worker, (uint64_t)godot->godot_variant_as_int(arguments[0]),
                                                  (float)godot->godot_variant_as_real(arguments[1]))));
}

METHOD(flow_cancel)
{
    Flow *flow = data;
    UNUSED;
    return truth(
        count == 1 && is_open(flow) &&
        good(flow, detailflow_worker_cancel(flow->worker, (uint64_t)godot->godot_variant_as_int(arguments[0]))));
}

/* The picture of an event as an Image, decoded into its own memory. */
static godot_variant image_of(Flow *flow, const detailflow_event *event, uint32_t side)
{
    godot_object *image = godot->godot_get_class_constructor("Image")();
    godot_variant value = object(image), arguments[5], ignored;
    godot_pool_byte_array bytes;
    godot_pool_byte_array_write_access *access;
    detailflow_image target = {0};

    godot->godot_pool_byte_array_new(&bytes);
    godot->godot_pool_byte_array_resize(&bytes, (godot_int)(side * side * 4));
    access = godot->godot_pool_byte_array_write(&bytes);
    target.struct_size = sizeof target;
    target.format = DETAILFLOW_FORMAT_RGBA8;
    target.width = target.height = side;
    target.pixels = godot->godot_pool_byte_array_write_access_ptr(access);
    target.capacity = (size_t)side * side * 4;
    good(flow, detailflow_event_decode_level(event, 0, &target, NULL));
    godot->godot_pool_byte_array_write_access_destroy(access);
    arguments[0] = integer(side);
    arguments[1] = integer(side);
    arguments[2] = truth(GODOT_FALSE);
    arguments[3] = integer(FORMAT_RGBA8);
    godot->godot_variant_new_pool_byte_array(&arguments[4], &bytes);
    ignored = call(image, "Image", "create_from_data", arguments, 5);
    godot->godot_variant_destroy(&ignored);
    godot->godot_pool_byte_array_destroy(&bytes);
    return value;
}

static void emit(godot_object *self, godot_variant *arguments, int count)
{
    godot_variant ignored = call(self, "Object", "emit_signal", arguments, count);
    godot->godot_variant_destroy(&ignored);
}

/* Emits the signal of an event, and frees it. */
static void report(godot_object *self, Flow *flow, detailflow_event *event)
{
    detailflow_event_info info = {0};
    godot_variant arguments[4];

    info.struct_size = sizeof info;
    if (good(flow, detailflow_event_get_info(event, &info, NULL))) {
        arguments[1] = integer((int64_t)info.job);
        if (info.kind == DETAILFLOW_EVENT_KIND_LEVEL) {
            arguments[0] = text("level_ready");
            arguments[2] = integer(info.level_size);
            arguments[3] = image_of(flow, event, info.level_size);
            emit(self, arguments, 4);
        } else {
            char message[1024] = "";
            good(flow, detailflow_event_get_job_message(event, message, sizeof message, NULL, NULL));
            arguments[0] = text("job_ended");
            arguments[2] = text(message);
            emit(self, arguments, 3);
        }
    }
    detailflow_event_free(event);
}

/* Keeps the object until the frame ends: it is an argument of a deferred call, which does nothing. Godot itself uses
 * the object after a method has returned. */
static void keep_for_frame(godot_object *self)
{
    godot_variant arguments[4], ignored;
    arguments[0] = text("is_connected");
    arguments[1] = text("level_ready");
    arguments[2] = object(self);
    arguments[3] = text("");
    ignored = call(self, "Object", "call_deferred", arguments, 4);
    godot->godot_variant_destroy(&ignored);
}

METHOD(flow_tick)
{
    Flow *flow = data;
    detailflow_tick_report result = {0};
    double milliseconds = 0;
    godot_bool kept = GODOT_FALSE;
    UNUSED;
    if (count == 1 && is_open(flow)) {
        milliseconds = godot->godot_variant_as_real(arguments[0]);
        result.struct_size = sizeof result;
        if (milliseconds >= 0 && milliseconds < 1e6 &&
            good(flow, detailflow_worker_tick(flow->worker, (uint64_t)(milliseconds * 1e6), &result))) {
            detailflow_event *event = NULL;
            /* A receiver may call close(), or drop the last reference. */
            while (flow->worker != NULL && good(flow, detailflow_worker_poll(flow->worker, &event)) && event != NULL) {
                if (!kept) {
                    keep_for_frame(self);
                    kept = GODOT_TRUE;
                }
                report(self, flow, event);
                event = NULL;
            }
        }
    }
    return truth(result.ready_count > 0);
}

METHOD(flow_get_pending)
{
    Flow *flow = data;
    size_t pending = 0;
    UNUSED;
    if (is_open(flow)) {
        good(flow, detailflow_worker_get_pending(flow->worker, &pending));
    }
    return integer((int64_t)pending);
}

METHOD(flow_get_levels)
{
    Flow *flow = data;
    detailflow_level level = {0};
    godot_pool_int_array sizes;
    godot_variant value;
    uint32_t at;
    UNUSED;
    godot->godot_pool_int_array_new(&sizes);
    level.struct_size = sizeof level;
    for (at = 0; is_open(flow) && detailflow_model_get_level(flow->model, at, &level) == DETAILFLOW_STATUS_OK; at++) {
        godot->godot_pool_int_array_append(&sizes, (godot_int)level.level_size);
    }
    godot->godot_variant_new_pool_int_array(&value, &sizes);
    godot->godot_pool_int_array_destroy(&sizes);
    return value;
}

METHOD(flow_get_classes)
{
    Flow *flow = data;
    godot_pool_string_array names;
    godot_variant value;
    const char *name = NULL;
    uint32_t at;
    UNUSED;
    godot->godot_pool_string_array_new(&names);
    for (at = 0; is_open(flow) && detailflow_model_get_class_name(flow->model, at, &name) == DETAILFLOW_STATUS_OK;
         at++) {
        godot_string string = string_of(name);
        godot->godot_pool_string_array_append(&names, &string);
        godot->godot_string_destroy(&string);
    }
    godot->godot_variant_new_pool_string_array(&value, &names);
    godot->godot_pool_string_array_destroy(&names);
    return value;
}

EXPORTED void godot_gdnative_init(godot_gdnative_init_options *options)
{
    unsigned at;
    godot = options->api_struct;
    for (at = 0; at < godot->num_extensions; at++) {
        if (godot->extensions[at]->type == GDNATIVE_EXT_NATIVESCRIPT) {
            scripts = (const godot_gdnative_ext_nativescript_api_struct *)godot->extensions[at];
        }
    }
}

EXPORTED void godot_gdnative_terminate(godot_gdnative_terminate_options *options)
{
    (void)options;
    godot = NULL;
    scripts = NULL;
}

static void add_signal(void *handle, const char *name, const char *const *arguments, int count)
{
    godot_signal_argument described[3];
    godot_signal signal = {0};
    int at;
    memset(described, 0, sizeof described);
    for (at = 0; at < count; at++) {
        described[at].name = string_of(arguments[at]);
        godot->godot_string_new(&described[at].hint_string);
        described[at].default_value = nothing();
    }
    signal.name = string_of(name);
    signal.num_args = count;
    signal.args = described;
    scripts->godot_nativescript_register_signal(handle, "DetailFlow", &signal);
    godot->godot_string_destroy(&signal.name);
    for (at = 0; at < count; at++) {
        godot->godot_string_destroy(&described[at].name);
        godot->godot_string_destroy(&described[at].hint_string);
        godot->godot_variant_destroy(&described[at].default_value);
    }
}

EXPORTED void godot_nativescript_init(void *handle)
{
    static const struct {
        const char *name;
        godot_variant (*method)(godot_object *, void *, void *, int, godot_variant **);
    } methods[] = {
        {"open", flow_open},
        {"close", flow_close},
        {"submit", flow_submit},
        {"set_priority", flow_set_priority},
        {"cancel", flow_cancel},
        {"tick", flow_tick},
        {"get_message", flow_get_message},
        {"get_pending", flow_get_pending},
        {"get_levels", flow_get_levels},
        {"get_classes", flow_get_classes},
    };
    static const char *const level[] = {"job", "size", "image"}, *const ended[] = {"job", "message"};
    const godot_instance_create_func creating = {create, NULL, NULL};
    const godot_instance_destroy_func destroying = {destroy, NULL, NULL};
    const godot_method_attributes attributes = {GODOT_METHOD_RPC_MODE_DISABLED};
    size_t at;

    scripts->godot_nativescript_register_class(handle, "DetailFlow", "Reference", creating, destroying);
    for (at = 0; at < sizeof methods / sizeof methods[0]; at++) {
        const godot_instance_method method = {methods[at].method, NULL, NULL};
        scripts->godot_nativescript_register_method(handle, "DetailFlow", methods[at].name, attributes, method);
    }
    add_signal(handle, "level_ready", level, 3);
    add_signal(handle, "job_ended", ended, 2);
}
