/*
 * Results, spans and owners: moved, moved onto themselves, handed over and taken back, destroyed in every order,
 * empty.
 *
 *     owners BUNDLE
 */
#include "check.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#if defined(_WIN32)
#include <csetjmp>
#else
#include <sys/wait.h>
#include <unistd.h>
#endif

using namespace detailflow;

/* Owners can be moved and not copied, and are as large as a pointer. */
template <class T>
constexpr bool is_owner =
    !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T> && std::is_nothrow_move_constructible_v<T> &&
    std::is_nothrow_move_assignable_v<T> && std::is_nothrow_default_constructible_v<T> && sizeof(T) == sizeof(void *);
static_assert(is_owner<RuntimeOptions> && is_owner<ModelOptions> && is_owner<Model> && is_owner<Request>);
static_assert(is_owner<Generation> && is_owner<Cancel> && is_owner<Pack> && is_owner<PackWriter>);
static_assert(is_owner<BestOfOptions> && is_owner<WorkerOptions> && is_owner<Worker> && is_owner<Event>);
static_assert(is_owner<DeviceList>);
static_assert(!std::is_convertible_v<detailflow_model *, Model>, "a handle is not taken over by accident");
static_assert(!std::is_copy_constructible_v<Result<Model>> && std::is_copy_constructible_v<Result<int>>);
static_assert(std::is_nothrow_move_constructible_v<Result<Model>>);

/* Spans are made from memory that outlives them, and const stays const. */
using Numbers = std::vector<std::uint32_t>;
static_assert(std::is_constructible_v<Span<const std::uint32_t>, Numbers> &&
              std::is_constructible_v<Span<const std::uint32_t>, const Numbers &> &&
              std::is_constructible_v<Span<std::uint32_t>, Numbers &> &&
              std::is_convertible_v<Span<std::uint32_t>, Span<const std::uint32_t>>);
static_assert(!std::is_constructible_v<Span<std::uint32_t>, Numbers> &&
              !std::is_constructible_v<Span<std::uint32_t>, const Numbers &> &&
              !std::is_constructible_v<Span<std::uint32_t>, Span<const std::uint32_t>> &&
              !std::is_constructible_v<Span<const std::uint32_t>, std::vector<std::uint64_t> &>);
static_assert(std::is_constructible_v<Image, Format, unsigned, unsigned, Numbers &> &&
              !std::is_constructible_v<Image, Format, unsigned, unsigned, const Numbers &> &&
              std::is_constructible_v<ConstImage, Format, unsigned, unsigned, const Numbers &> &&
              std::is_convertible_v<Image, ConstImage> && !std::is_convertible_v<ConstImage, Image>);

/* Whether a function ends in std::abort. Before the library has threads. */
#if defined(_WIN32)
static std::jmp_buf before_abort;

template <class F>
static bool aborts(F call)
{
    if (setjmp(before_abort) != 0) {
        return true;
    }
    std::signal(SIGABRT, [](int) { std::longjmp(before_abort, 1); });
    call();
    std::signal(SIGABRT, SIG_DFL);
    return false;
}
#else
template <class F>
static bool aborts(F call)
{
    int status = 0;
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        call();
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}
#endif

static void results_hold_value_or_error()
{
    const Error error{Status::not_found, "it is not there"};
    Result<int> four = 4, none = error;
    CHECK(four.ok() && four && *four == 4 && four.value() == 4 && four.status() == Status::ok);
    CHECK(four.message()[0] == 0 && four.value_or(5) == 4 && Result<int>(6).value_or(7) == 6);
    CHECK(!none.ok() && !none && none.status() == Status::not_found && none.value_or(5) == 5);
    CHECK(strcmp(none.message(), "it is not there") == 0 && none.error().message == "it is not there");
    CHECK(Result<int>(none.error()).value_or(8) == 8);
    four.value() = 9;
    CHECK(std::as_const(four).value() == 9 && *std::as_const(four) == 9 && *Result<int>(10) == 10);
    none = four;
    CHECK(none && *none == 9);

    Result<void> done, failed = error;
    CHECK(done.ok() && done && done.status() == Status::ok && done.message()[0] == 0);
    CHECK(!failed.ok() && !failed && failed.status() == Status::not_found &&
          failed.error().message == failed.message());
    failed = done;
    CHECK(failed.ok());

    Result<std::string> text = std::string("a text that is too long to lie within the string itself");
    CHECK(text->size() == 55 && std::as_const(text)->size() == 55);
    const std::string moved = std::move(text).value();
    CHECK(moved.size() == 55 && text.ok());

    /* A missing value is never read. */
    CHECK(aborts([&] { CHECK(Result<int>(error).value() == 0); }));
    CHECK(aborts([&] { CHECK(*Result<int>(error) == 0); }));
    CHECK(aborts([&] { CHECK(Result<int>(1).error().message.empty()); }));
    CHECK(aborts([&] { CHECK(Result<void>().error().message.empty()); }));
    CHECK(!aborts([&] { CHECK(Result<int>(0).value() == 0); }));

    CHECK(strcmp(status_name(Status::busy), "DETAILFLOW_STATUS_BUSY") == 0);
    CHECK(strcmp(status_name(static_cast<Status>(4711)), "DETAILFLOW_STATUS_UNKNOWN") == 0);
}

static void spans_refer_to_arrays()
{
    std::uint32_t raw[3] = {1, 2, 3};
    std::array<std::uint32_t, 2> array = {4, 5};
    Numbers vector = {6, 7, 8, 9};
    const Span<std::uint32_t> none, of_raw = raw, of_array = array, of_vector = vector;
    CHECK(none.empty() && none.size() == 0 && none.data() == nullptr && none.begin() == none.end());
    CHECK(of_raw.size() == 3 && of_raw[2] == 3 && of_array.size() == 2 && of_vector.data() == vector.data());
    CHECK(of_vector.first(2).size() == 2 && of_vector.first(9).size() == 4 && Span<std::uint32_t>(raw, 1).size() == 1);
    std::uint32_t sum = 0;
    for (std::uint32_t &value : of_vector) {
        sum += value++;
    }
    CHECK(sum == 30 && vector[3] == 10);
    const Span<const std::uint32_t> read = of_raw, of_const = std::as_const(vector);
    CHECK(read.data() == raw && of_const.size() == 4 && !of_const.empty());
}

/* All owners of one chain, each of which may be empty. */
struct Chain {
    ModelOptions options;
    Model model;
    Request request;
    Generation generation;
    Generation fork;
    Cancel cancel;
    static constexpr int size = 6;
};

static Chain make(const char *bundle)
{
    Chain all;
    const std::uint64_t seeds[] = {7};
    all.options = GOOD(ModelOptions::make());
    GOOD(all.options.set_threads(1));
    all.model = GOOD(Model::open(bundle, all.options));
    all.request = GOOD(Request::make(all.model));
    all.generation = GOOD(Generation::make(all.request));
    CHECK(GOOD(all.generation.step()).token_count > 0);
    all.fork = GOOD(all.generation.fork(seeds));
    all.cancel = GOOD(all.generation.get_cancel());
    return all;
}

/* Owners that are left can be used; calls of empty ones are refused. */
static void use(Chain &all)
{
    const Status empty = Status::invalid_argument;
    if (all.options) {
        GOOD(all.options.set_threads(1));
    } else {
        BAD(all.options.set_threads(1), empty, "NULL");
    }
    if (all.model) {
        CHECK(GOOD(all.model.get_info()).image_size > 0);
    } else {
        BAD(all.model.get_info(), empty, "NULL");
    }
    if (all.request) {
        GOOD(all.request.set_seed(9));
    } else {
        BAD(all.request.set_seed(9), empty, "NULL");
    }
    if (all.generation) {
        CHECK(!GOOD(all.generation.get_tokens(0)).empty());
    } else {
        BAD(all.generation.get_tokens(0), empty, "NULL");
    }
    if (all.fork) {
        CHECK(GOOD(all.fork.step()).steps_done > 0);
    } else {
        BAD(all.fork.step(), empty, "NULL");
    }
    if (!all.cancel) {
        BAD(all.cancel.trigger(), empty, "NULL");
    } else if (!all.generation) {
        GOOD(all.cancel.trigger());
    }
}

static void drop(Chain &all, int which)
{
    switch (which) {
    case 0: all.options.reset(); break;
    case 1: all.model = Model(); break;
    case 2: {
        const Request gone = std::move(all.request);
    } break;
    case 3: all.generation.reset(); break;
    case 4: all.fork = Generation(); break;
    default: all.cancel.reset(); break;
    }
}

static void owners_are_destroyed_in_every_order(const char *bundle)
{
    std::array<int, Chain::size> order = {0, 1, 2, 3, 4, 5};
    int turn = 0;
    /* A model for each order would take long. Every eleventh order still has each handle in each position. */
    std::array<std::array<bool, Chain::size>, Chain::size> seen = {};
    do {
        if (turn++ % 11 != 0) {
            continue;
        }
        Chain all = make(bundle);
        for (std::size_t at = 0; at < order.size(); at++) {
            seen[static_cast<std::size_t>(order[at])][at] = true;
            drop(all, order[at]);
            use(all);
        }
    } while (std::next_permutation(order.begin(), order.end()));
    for (const std::array<bool, Chain::size> &places : seen) {
        CHECK(std::all_of(places.begin(), places.end(), [](bool place) { return place; }));
    }
}

static void owners_move_and_hand_over(const char *bundle)
{
    Chain all = make(bundle);
    detailflow_generation *const handle = all.generation.get();
    CHECK(handle != nullptr && std::as_const(all.generation).get() == handle);

    /* Onto another, which is freed; back; and onto itself, by a way that no compiler warns about. */
    Generation other = std::move(all.generation);
    CHECK(other.get() == handle && !all.generation && all.generation.get() == nullptr);
    all.fork = std::move(other);
    CHECK(all.fork.get() == handle && !other);
    Generation *const same = &all.fork;
    all.fork = std::move(*same);
    CHECK(all.fork.get() == handle && GOOD(all.fork.get_progress()).token_count > 0);
    std::swap(all.fork, all.generation);
    CHECK(all.generation.get() == handle && !all.fork);

    /* Into a container, and out of a result. */
    std::vector<Generation> many;
    for (int turn = 0; turn < 4; turn++) {
        many.push_back(GOOD(Generation::make(all.request)));
    }
    many.erase(many.begin());
    CHECK(many.size() == 3 && GOOD(many[2].step()).steps_done == 1);
    Result<Generation> result = Generation::make(all.request);
    CHECK(result.ok() && GOOD(result->step()).steps_done == 1);
    const Generation taken = std::move(result).value();
    CHECK(taken && taken.get_message().empty());

    /* To the C API and back. */
    detailflow_generation *const released = all.generation.release();
    CHECK(released == handle && !all.generation);
    OK(detailflow_generation_step(released, nullptr));
    all.generation = Generation(released);
    CHECK(GOOD(all.generation.get_progress()).steps_done == 2);

    /* Calls of empty owners are refused, and none crashes. */
    const Model no_model;
    const Request no_request;
    BAD(Request::make(no_model), Status::invalid_argument, "NULL");
    BAD(Generation::make(no_request), Status::invalid_argument, "NULL");
    BAD(no_model.get_class_name(0), Status::invalid_argument, "NULL");
    CHECK(no_model.get_message().empty() && no_request.get_message().empty() && Generation().get_message().empty());
    CHECK(Pack().get_message().empty() && PackWriter().get_message().empty());
}

int main(int argc, char **argv)
{
    const char *const bundle = check_bundle(argc, argv);
    results_hold_value_or_error();
    spans_refer_to_arrays();
    owners_move_and_hand_over(bundle);
    owners_are_destroyed_in_every_order(bundle);
    return 0;
}
