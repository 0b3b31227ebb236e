/*
 * What the programs about threads and limits share: the threads of this process, and children that end or hang.
 */
#ifndef THREADS_H
#define THREADS_H

#include "check.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a program exits with that can do nothing here; it says why on standard output. */
#define SKIPPED 77

/* The value of a line of /proc/self/task/ID/status, such as "Cpus_allowed_list". */
static CHECK_UNUSED void check_task(const char *id, const char *key, char *value, size_t capacity)
{
    char path[320], line[512];
    FILE *file;
    snprintf(path, sizeof path, "/proc/self/task/%s/status", id);
    file = fopen(path, "r");
    CHECK(file != NULL);
    value[0] = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ':') {
            const char *text = line + strlen(key) + 1;
            snprintf(value, capacity, "%.*s", (int)strcspn(text + strspn(text, " \t"), "\n"),
                     text + strspn(text, " \t"));
        }
    }
    fclose(file);
    CHECK(value[0] != 0);
}

/* Calls `each` for every thread but the first, and returns how many there are. */
static CHECK_UNUSED int check_tasks(void (*each)(const char *id))
{
    DIR *folder = opendir("/proc/self/task");
    const struct dirent *entry;
    char own[32];
    int count = 0;
    CHECK(folder != NULL);
    snprintf(own, sizeof own, "%d", (int)getpid());
    while ((entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, own) != 0) {
            count++;
            if (each != NULL) {
                each(entry->d_name);
            }
        }
    }
    closedir(folder);
    return count;
}

/* Open descriptors of this process, with the one that counts them. */
static CHECK_UNUSED int check_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int count = 0;
    CHECK(folder != NULL);
    while (readdir(folder) != NULL) {
        count++;
    }
    closedir(folder);
    return count;
}

/* A model, or NULL; the status is what opening gave. */
static CHECK_UNUSED detailflow_model *check_try_open(const char *bundle, uint32_t threads, detailflow_status *status)
{
    detailflow_model_options *options = NULL;
    detailflow_model *model = NULL;
    OK(detailflow_model_options_new(&options, NULL));
    OK(detailflow_model_options_set_threads(options, threads));
    *status = detailflow_model_open(bundle, options, &model, NULL);
    CHECK((*status == DETAILFLOW_STATUS_OK) == (model != NULL));
    detailflow_model_options_free(options);
    return model;
}

/* Runs `work` in a child, which has at most `seconds`: a child that hangs dies of SIGALRM. Returns what waitpid says. */
static CHECK_UNUSED int check_child(void (*work)(void), unsigned seconds)
{
    int status = 0;
    pid_t child;
    fflush(stdout);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(seconds);
        work();
        /* Not exit(): handlers are not what is tested here. */
        fflush(stdout);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    return status;
}

/* The child has ended by itself with 0. */
static CHECK_UNUSED void check_ended(const char *what, int status)
{
    if (WIFSIGNALED(status)) {
        fprintf(stderr, "%s: signal %d%s\n", what, WTERMSIG(status), WTERMSIG(status) == SIGALRM ? ", it hung" : "");
        check_failed(__FILE__, __LINE__, what, "did not end by itself");
    }
    if (WEXITSTATUS(status) != 0) {
        check_failed(__FILE__, __LINE__, what, "failed");
    }
}

#endif
