/*
 * Values of Godot in C: what detailflow_godot.c needs of them.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef VALUES_H
#define VALUES_H

#include <gdnative_api_struct.gen.h>
#include <stdlib.h>
#include <string.h>

/* Godot's functions; set when the module is loaded. */
extern const godot_gdnative_core_api_struct *godot;

static inline godot_string string_of(const char *text)
{
    godot_string string = godot->godot_string_chars_to_utf8(text);
    return string;
}

static inline godot_variant nothing(void)
{
    godot_variant value;
    godot->godot_variant_new_nil(&value);
    return value;
}

static inline godot_variant truth(godot_bool truth)
{
    godot_variant value;
    godot->godot_variant_new_bool(&value, truth);
    return value;
}

static inline godot_variant integer(int64_t number)
{
    godot_variant value;
    godot->godot_variant_new_int(&value, number);
    return value;
}

static inline godot_variant real(double number)
{
    godot_variant value;
    godot->godot_variant_new_real(&value, number);
    return value;
}

static inline godot_variant text(const char *utf8)
{
    godot_string string = string_of(utf8);
    godot_variant value;
    godot->godot_variant_new_string(&value, &string);
    godot->godot_string_destroy(&string);
    return value;
}

static inline godot_variant object(const godot_object *instance)
{
    godot_variant value;
    godot->godot_variant_new_object(&value, instance);
    return value;
}

/* The UTF-8 text of an argument; free() it. NULL when there is no memory. */
static inline char *utf8_of(const godot_variant *value)
{
    godot_string string = godot->godot_variant_as_string(value);
    godot_char_string bytes = godot->godot_string_utf8(&string);
    const size_t length = (size_t)godot->godot_char_string_length(&bytes);
    char *copy = malloc(length + 1);
    if (copy != NULL) {
        memcpy(copy, godot->godot_char_string_get_data(&bytes), length);
        copy[length] = 0;
    }
    godot->godot_char_string_destroy(&bytes);
    godot->godot_string_destroy(&string);
    return copy;
}

/* Calls a method of an object. The arguments are destroyed. */
static inline godot_variant call(godot_object *instance, const char *class_name, const char *method,
                                 godot_variant *arguments, int count)
{
    const godot_variant *pointers[8];
    godot_variant_call_error error;
    godot_variant result;
    int at;
    for (at = 0; at < count; at++) {
        pointers[at] = &arguments[at];
    }
    result = godot->godot_method_bind_call(godot->godot_method_bind_get_method(class_name, method), instance, pointers,
                                           count, &error);
    for (at = 0; at < count; at++) {
        godot->godot_variant_destroy(&arguments[at]);
    }
    return result;
}

/* As call, of a method whose result is a number; other results are 0. */
static inline int64_t call_number(godot_object *instance, const char *class_name, const char *method,
                                  godot_variant *arguments, int count)
{
    godot_variant result = call(instance, class_name, method, arguments, count);
    const int64_t number = godot->godot_variant_as_int(&result);
    godot->godot_variant_destroy(&result);
    return number;
}

#endif
