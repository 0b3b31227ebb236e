/*
 * Every class and function of detailflow.hpp: once with what it is for, and once with what it refuses.
 *
 *     everything BUNDLE RUNTIME       RUNTIME: the file of ONNX Runtime
 */
#include "check.hpp"
#include "posix.h"

#include <atomic>
#include <cmath>
#include <fstream>
#include <thread>

using namespace detailflow;

using Tokens = std::vector<std::uint32_t>;
using Bytes = std::vector<std::uint8_t>;

/* A level of the model, counted from the finest: 0, 1 ... */
static Level level_from_end(const Model &model, std::uint32_t back)
{
    const std::uint32_t count = GOOD(model.get_info()).level_count;
    return GOOD(model.get_level(count - 1 - (back < count ? back : count - 1)));
}

static Request request_of(const Model &model, std::uint32_t count, std::uint64_t seed)
{
    Request request = GOOD(Request::make(model));
    GOOD(request.set_image_count(count));
    GOOD(request.set_seed(seed));
    return request;
}

/* A path as messages show it. */
static std::string shown(std::string path)
{
#ifdef _WIN32
    for (char &c : path) {
        if (c == '/') {
            c = '\\';
        }
    }
#endif
    return path;
}

static Bytes read(const char *path)
{
    std::ifstream file(path, std::ios::binary);
    CHECK(file.good());
    return Bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
}

static void write(const char *path, Span<const std::uint8_t> bytes)
{
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char *>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    CHECK(file.good());
}

static std::atomic<int> logged{0};

static void library_loads_runtime(const char *runtime)
{
    CHECK(matches_header() && version()[0] != 0 && abi_version() == DETAILFLOW_ABI_VERSION);
    CHECK(version_number() == DETAILFLOW_VERSION_NUMBER && last_message() != nullptr);
    GOOD(log_set_callback(
        Severity::info, [](void *user, std::uint32_t, const char *) { ++*static_cast<std::atomic<int> *>(user); },
        &logged));
    BAD(log_set_callback(static_cast<Severity>(99), [](void *, std::uint32_t, const char *) {}),
        Status::invalid_argument, "99");

    RuntimeOptions options = GOOD(RuntimeOptions::make());
    BAD(options.set_library(std::string_view("a\0b", 3)), Status::invalid_argument, "zero byte");
    BAD(options.set_library({}), Status::invalid_argument, "NULL");
    CHECK(options.get_message().find("NULL") != std::string::npos);
    /* A message that a detailflow_error cuts is whole in an Error. */
    const std::string long_path = "/there/is/none/" + std::string(2000, 'x') + "/end";
    GOOD(options.set_library(long_path));
    BAD(runtime_init(options), Status::no_runtime, "x/end");
    GOOD(options.set_library(runtime));
    GOOD(runtime_init(options));
    GOOD(runtime_init(options));
    BAD(runtime_init(RuntimeOptions()), Status::invalid_argument, "moved");
    GOOD(runtime_init());
}

static void opening_reports_progress_and_stops(const char *bundle)
{
    ModelOptions options = GOOD(ModelOptions::make());
    GOOD(options.set_threads(1));
    std::uint32_t calls = 0, last_done = 0, last_total = 0;
    auto progress = [&](std::uint32_t done, std::uint32_t total, const char *stage) {
        CHECK(done <= total && (done == total) == (stage[0] == 0));
        calls++;
        last_done = done;
        last_total = total;
    };
    GOOD(options.set_open_progress(progress));
    CHECK(GOOD(Model::open(bundle, options)).get() != nullptr);
    CHECK(calls > 1 && last_done == last_total);
    GOOD(options.clear_open_progress());

    const auto parallel_for = [](std::uint32_t tasks, ParallelTask task) {
        for (std::uint32_t index = 0; index < tasks; index++)
            task(index);
    };
    GOOD(options.set_parallel_for(parallel_for));
    CHECK(GOOD(Model::open(bundle, options)).get() != nullptr);
    GOOD(options.clear_parallel_for());
    const std::uint32_t before = calls;

    const Cancel cancel = GOOD(Cancel::make());
    GOOD(options.set_cancel(cancel));
    BAD(options.set_cancel(Cancel()), Status::invalid_argument, "moved");
    GOOD(cancel.trigger());
    BAD(Model::open(bundle, options), Status::cancelled, "");
    GOOD(options.clear_cancel());
    GOOD(Model::open(bundle, options));
    CHECK(calls == before);
}

static Model model_opens_with_options(const char *bundle)
{
    ModelOptions options = GOOD(ModelOptions::make());
    GOOD(options.set_threads(1));
    BAD(options.set_threads(100000), Status::invalid_argument, "100000");
    CHECK(options.get_message().find("100000") != std::string::npos);
    GOOD(options.set_device("cpu"));
    BAD(options.set_device("abacus"), Status::no_device, "abacus");
    GOOD(options.set_spinning(Spinning::never));
    GOOD(options.set_spinning(Spinning::runs));
    GOOD(options.set_spinning(Spinning::default_));
    BAD(options.set_spinning(static_cast<Spinning>(9)), Status::invalid_argument, "9");
    BAD(options.set_device_option("", "1"), Status::invalid_argument, "key");
    GOOD(options.set_allow_fallback(true));
    GOOD(options.set_weights_in_memory(true));
    {
        /* The CPU has no options; a device that is not here falls back when it may. */
        ModelOptions other = GOOD(ModelOptions::make());
        GOOD(other.set_device_option("colour", "red"));
        BAD(Model::open(bundle, other), Status::invalid_argument, "colour");
        GOOD(other.set_device("plugin:/there/is/none.so"));
        const std::string missing = shown("/there/is/none.so");
        BAD(Model::open(bundle, other), Status::no_device, missing.c_str());
        GOOD(other.set_allow_fallback(true));
        const Model fallen = GOOD(Model::open(bundle, other));
        CHECK(std::string_view(GOOD(fallen.get_info()).device) == "cpu");
        CHECK(GOOD(fallen.get_report()).find(missing + " is not a file") != std::string::npos);
    }
    GOOD(options.set_form("plain"));
    GOOD(options.set_form({}));
    GOOD(options.set_precision("fp7"));
    BAD(Model::open(bundle, options), Status::invalid_argument, "fp7");
    CHECK(strstr(last_message(), "fp7") != nullptr);
    GOOD(options.set_precision({}));
    BAD(Model::open(bundle, ModelOptions()), Status::invalid_argument, "moved");
    BAD(Model::open("there/is/none"), Status::not_found, "there/is/none");
    /* A view into a longer text ends where the view ends. */
    const std::string longer = std::string(bundle) + "/and/more";
    Model model = GOOD(Model::open(std::string_view(longer).substr(0, strlen(bundle)), options));
    CHECK(GOOD(Model::open(bundle)).get() != nullptr);
    GOOD(log_clear_callback());
    CHECK(logged > 0);

    CHECK(GOOD(model.get_report()).find("runs on cpu\nar.") == 0);
    const DeviceList devices = GOOD(DeviceList::make());
    const DeviceInfo cpu = GOOD(devices.get_info(0));
    CHECK(GOOD(devices.get_count()) > 0 && kind(cpu) == DeviceKind::cpu && std::string_view(cpu.device) == "cpu");
    BAD(devices.get_info(1000), Status::invalid_argument, "1000");
    CHECK(cpu.metadata_count == 0 || GOOD(devices.get_metadata(0, 0)).first.size() > 0);
    BAD(devices.get_metadata(0, cpu.metadata_count), Status::invalid_argument, "metadata");

    const ModelInfo info = GOOD(model.get_info());
    CHECK(info.image_size > 0 && info.name[0] != 0 && info.can_generate == 1 && info.can_encode == 1);
    const std::string_view name = GOOD(model.get_class_name(info.class_count - 1));
    CHECK(GOOD(model.find_class(name)) == info.class_count - 1);
    BAD(model.get_class_name(info.class_count), Status::invalid_argument, "");
    BAD(model.find_class("no such class"), Status::invalid_argument, "no such class");
    CHECK(model.get_message().find("no such class") != std::string::npos);
    const Level finest = level_from_end(model, 0);
    CHECK(finest.level_size == info.image_size && finest.token_count == info.token_count);
    CHECK(GOOD(model.find_level(0)).token_count == info.token_count);
    CHECK(GOOD(model.find_level(finest.level_size)).level_size == finest.level_size);
    BAD(model.find_level(finest.level_size + 1), Status::invalid_argument, "");
    BAD(model.get_level(info.level_count), Status::invalid_argument, "");
    CHECK(GOOD(model.get_prefix_size(info.token_count)) == info.image_size);
    BAD(model.get_prefix_size(info.token_count + 1), Status::invalid_argument, "");
    return model;
}

static Tokens tokenizer_encodes_and_decodes(const Model &model)
{
    const ModelInfo info = GOOD(model.get_info());
    const std::uint32_t size = info.image_size;
    std::vector<std::uint32_t> pixels(size * size * 4);
    for (std::uint32_t at = 0; at < size * size; at++) {
        pixels[at] = 0xff000000u | at * 77u;
    }
    const ConstImage picture(Format::rgba8, size, size, Span(pixels.data(), size * size));
    GOOD(image_save(picture, "picture.png"));
    BAD(image_save(picture, "picture.nonsense"), Status::invalid_argument, "");
    const Bytes file = GOOD(image_encode(picture, FileFormat::png));
    Bytes same_file(file.size());
    CHECK(GOOD(image_encode(picture, FileFormat::png, same_file)) == file.size() && same_file == file);
    CHECK(file == read("picture.png"));
    CHECK(GOOD(image_encode(picture, FileFormat::qoi)) != file);
    BAD(image_encode(picture, FileFormat::png, Span(same_file).first(1)), Status::invalid_argument, "");
    BAD(image_encode(picture, static_cast<FileFormat>(99)), Status::invalid_argument, "99");

    Tokens tokens(GOOD(model.encode(picture, {})));
    CHECK(tokens.size() == info.token_count && GOOD(model.encode(picture, tokens)) == tokens.size());
    Tokens again(tokens.size());
    CHECK(GOOD(model.encode_file("picture.png", again)) == tokens.size() && again == tokens);
    std::fill(again.begin(), again.end(), 0u);
    CHECK(GOOD(model.encode_data(file, again)) == tokens.size() && again == tokens);
    const Cancel unused = GOOD(Cancel::make());
    CHECK(GOOD(model.encode(picture, 0, nullptr, again)) == tokens.size() && again == tokens);
    Tokens searched(tokens.size());
    CHECK(GOOD(model.encode_file("picture.png", 1, &unused, searched)) == tokens.size() && searched != tokens);
    CHECK(GOOD(model.encode(picture, 1, &unused, again)) == tokens.size() && again == searched);
    CHECK(GOOD(model.encode(picture, again)) == tokens.size() && again == tokens);
    BAD(model.encode(picture, 5, nullptr, again), Status::invalid_argument, "effort");
    BAD(model.encode(picture, Span(again).first(1)), Status::invalid_argument, "");
    BAD(model.encode_file("none.png", again), Status::not_found, "none.png");
    BAD(model.encode_data(Span(file).first(9), again), Status::bad_format, "");

    /* Bytes, floats and packed pixels of one picture. */
    Bytes rgb(size * size * 3), rgba(size * size * 4);
    std::vector<float> floats(size * size * 4);
    std::vector<std::uint32_t> packed(size * size);
    GOOD(model.decode(tokens, 0, Image(Format::rgb8, size, size, rgb)));
    GOOD(model.decode(tokens, 0, Image(Format::rgba8, size, size, rgba)));
    GOOD(model.decode(tokens, 0, Image(Format::rgba32f, size, size, floats)));
    GOOD(model.decode(tokens, size, Image(Format::rgba8, size, size, packed.data(), packed.size() * 4, size * 4)));
    CHECK(memcmp(packed.data(), rgba.data(), rgba.size()) == 0);
    CHECK(std::lround(floats[4] * 255.0f) == rgba[4]);
    BAD(model.decode(tokens, 0, Image(Format::rgba8, size, size, rgb)), Status::invalid_argument, "");

    Bytes large(size * size * 16);
    const Image twice(Format::rgba8, 2 * size, 2 * size, large);
    GOOD(image_upscale(Image(Format::rgba8, size, size, rgba), 2, twice));
    CHECK(memcmp(&large[0], &large[4], 4) == 0 && memcmp(&large[0], &rgba[0], 4) == 0);
    BAD(image_upscale(twice, 65, twice), Status::invalid_argument, "");

    /* Finishing. */
    const std::vector<std::uint32_t> two = {0x000000, 0xffffff};
    Bytes art(rgba.begin(), rgba.end());
    Finish finish;
    finish.alpha_cut = 110;
    finish.set_palette(two);
    GOOD(image_finish(Image(Format::rgba8, size, size, art), finish));
    for (std::size_t at = 0; at < art.size(); at += 4) {
        CHECK((art[at] == 0 || art[at] == 255) && art[at] == art[at + 1] && art[at] == art[at + 2]);
        CHECK(art[at + 3] == 0 || art[at + 3] == 255);
    }
    finish.colors = 1;
    BAD(image_finish(Image(Format::rgba8, size, size, art), finish), Status::invalid_argument, "2 to 256");
    const std::vector<ConstImage> set = {ConstImage(Format::rgba8, size, size, rgba)};
    const std::vector<std::uint32_t> made = GOOD(palette_make(set, Finish(), 4));
    CHECK(!made.empty() && made.size() <= 4);
    BAD(palette_make(set, Finish(), 1), Status::invalid_argument, "2 to 256");
    const Bytes hex = {'0', '0', '0', '1', '0', '2', 10, 'f', 'f', '0', '0', '0', '0'};
    CHECK((GOOD(palette_decode(hex)) == std::vector<std::uint32_t>{0x000102, 0xff0000}));
    BAD(palette_decode(Bytes{'x'}), Status::bad_format, "line 1");
    std::vector<std::uint32_t> room;
    CHECK(GOOD(model.get_finish(room)).palette_count == room.size());

    /* Mips. */
    std::uint32_t sizes[32];
    const std::size_t count = GOOD(mips_list_sizes(size, sizes));
    CHECK(count == GOOD(mips_list_sizes(size)).size() && sizes[0] == size && sizes[count - 1] == 1);
    BAD(mips_list_sizes(0), Status::invalid_argument, "");
    std::vector<Bytes> memory(count);
    std::vector<Image> targets;
    for (std::size_t at = 0; at < count; at++) {
        memory[at].resize(sizes[at] * sizes[at] * 4);
        targets.emplace_back(Format::rgba8, sizes[at], sizes[at], memory[at]);
    }
    GOOD(model.decode_mips(tokens, MipsSource::levels, targets));
    CHECK(memory[0] == rgba);
    GOOD(model.decode_mips(tokens, MipsSource::finest, targets));
    CHECK(memory[0] == rgba);
    GOOD(model.decode_mips(tokens, MipsSource::default_, targets));
    BAD(model.decode_mips(tokens, static_cast<MipsSource>(9), targets), Status::invalid_argument, "9");

    /* The same in one block. */
    const MipLayout layout = GOOD(mips_lay_out(size, Format::rgba8, 256));
    CHECK(layout.offsets.size() == count && layout.offsets[1] % 256 == 0);
    Bytes block(layout.block_bytes);
    GOOD(model.decode_mip_chain(tokens, MipsSource::finest, size, Format::rgba8, layout.offsets, block));
    CHECK(std::equal(rgba.begin(), rgba.end(), block.begin()));
    const Span<std::uint8_t> cut(block.data(), block.size() - 1);
    BAD(model.decode_mip_chain(tokens, MipsSource::finest, size, Format::rgba8, layout.offsets, cut),
        Status::invalid_argument, "does not lie within");
    BAD(mips_lay_out(0, Format::bgra8), Status::invalid_argument, "0");

    /* An atlas. */
    const Level lower = level_from_end(model, 1);
    const Tokens coarse(tokens.begin(), tokens.begin() + lower.token_count);
    Sprite sprites[] = {Sprite(tokens), Sprite(coarse, lower.level_size, 0, 0, 1), Sprite(tokens, lower.level_size)};
    const std::uint32_t width = 2 * size + 1, height = GOOD(model.lay_out_atlas(sprites, width, 1));
    Bytes atlas(width * height * 4);
    GOOD(model.decode_atlas(sprites, Image(Format::rgba8, width, height, atlas)));
    const std::size_t first = (sprites[0].y * width + sprites[0].x) * 4;
    CHECK(std::equal(rgba.begin(), rgba.begin() + size * 4, atlas.begin() + static_cast<std::ptrdiff_t>(first)));
    BAD(model.lay_out_atlas(sprites, 1, 0), Status::invalid_argument, "");
    sprites[1].x = sprites[0].x;
    sprites[1].y = sprites[0].y;
    BAD(model.decode_atlas(sprites, Image(Format::rgba8, width, height, atlas)), Status::invalid_argument, "");
    return tokens;
}

static void request_setters_check_arguments(const Model &model, const Tokens &tokens)
{
    const ModelInfo info = GOOD(model.get_info());
    const Level lower = level_from_end(model, 1);
    Request request = GOOD(Request::make(model));
    GOOD(request.set_image_count(3));
    GOOD(request.set_class(info.class_count - 1));
    GOOD(request.set_seed(5));
    GOOD(request.set_image_source(1, 0, 77));
    GOOD(request.set_guidance(2.5f));
    GOOD(request.set_gradual_guidance(true));
    GOOD(request.set_temperature(0.7f));
    GOOD(request.set_top_k(5));
    GOOD(request.set_top_p(0.9f));
    GOOD(request.set_log_probabilities(true));
    BAD(request.set_image_count(0), Status::invalid_argument, "");
    BAD(request.set_class(info.class_count), Status::invalid_argument, "");
    BAD(request.set_image_source(3, 0, 0), Status::invalid_argument, "");
    BAD(request.set_guidance(-1.0f), Status::invalid_argument, "");
    BAD(request.set_temperature(NAN), Status::invalid_argument, "");
    BAD(request.set_top_p(1.5f), Status::invalid_argument, "");
    CHECK(!request.get_message().empty() && request.get_message() == last_message());

    const std::uint32_t both[] = {0, 1}, third[] = {2};
    const float halves[] = {0.5f, 0.5f}, half[] = {0.5f};
    GOOD(request.set_classes(both, halves));
    GOOD(request.set_avoid(third, half));
    GOOD(request.set_image_classes(1, third, half));
    GOOD(request.set_image_avoid(1, both, halves));
    BAD(request.set_classes(both, half), Status::invalid_argument, "2 indices and 1 values");
    BAD(request.set_avoid(third, halves), Status::invalid_argument, "1 indices and 2 values");
    BAD(request.set_image_classes(1, both, half), Status::invalid_argument, "2 indices");
    BAD(request.set_image_avoid(1, both, half), Status::invalid_argument, "2 indices");
    BAD(request.set_classes({}, {}), Status::invalid_argument, "no class");
    const std::uint32_t change[] = {0, 4};
    const float rise[] = {0.5f, 1.0f};
    GOOD(request.set_class_curve(2, change, rise));
    GOOD(request.set_avoid_curve(2, change, rise));
    BAD(request.set_class_curve(2, change, half), Status::invalid_argument, "2 indices");
    BAD(request.set_avoid_curve(2, change, half), Status::invalid_argument, "2 indices");
    Request mixed = GOOD(Request::make(model));
    GOOD(mixed.set_classes(both, halves));
    const Generation of_both = GOOD(generate(mixed));
    const std::vector<std::uint8_t> file = GOOD(of_both.encode_dft(0));
    CHECK(GOOD(dft_get_info(file)).class_index == 0 && GOOD(dft_get_tokens(file)) == GOOD(of_both.get_tokens(0)));
    GOOD(request.set_classes_of_dft(file));
    BAD(request.set_classes_of_dft({}), Status::invalid_argument, "");
    GOOD(request.set_avoid({}, {}));
    GOOD(request.set_class(0));
    const std::uint32_t at[] = {0, info.token_count - 1};
    const float falling[] = {3.0f, 1.0f}, rising[] = {0.5f, 1.0f}, more[] = {1.0f, 8.0f};
    GOOD(request.set_guidance_curve(at, falling));
    GOOD(request.set_temperature_curve(at, rising));
    GOOD(request.set_top_k_curve(at, more));
    GOOD(request.set_top_p_curve(at, rising));
    BAD(request.set_top_p_curve(at, Span(rising).first(1)), Status::invalid_argument, "2 token indices and 1 values");
    BAD(request.set_top_p_curve({}, {}), Status::invalid_argument, "");

    GOOD(request.set_level_size(lower.level_size));
    BAD(request.set_level_size(lower.level_size + 1), Status::invalid_argument, "");
    GOOD(request.set_level_size(0));
    GOOD(request.set_prefix(tokens, lower.level_size));
    GOOD(request.set_prefix(Span(tokens).first(info.causal_count)));
    BAD(request.set_prefix(Span(tokens).first(info.token_count - 1)), Status::invalid_argument, "");
    GOOD(request.set_image_prefix(2, Span(tokens).first(info.causal_count)));
    GOOD(request.set_prefix({}));
    Bytes grey(8 * 8 * 3, 128);
    GOOD(request.set_prefix_picture(ConstImage(Format::rgb8, 8, 8, grey), lower.level_size));
    CHECK(GOOD(GOOD(Generation::make(request)).get_progress()).token_count == lower.token_count);
    GOOD(request.set_prefix({}));

    const Cost cost = GOOD(request.get_cost());
    CHECK(cost.step_count > 0 && cost.kv_cache_bytes > 0 && cost.output_bytes > 0);
    std::vector<StepCost> steps(GOOD(request.get_step_costs({})));
    CHECK(!steps.empty() && GOOD(request.get_step_costs(steps)) == steps.size());
    CHECK(GOOD(request.get_step_costs()).size() == steps.size());
    std::uint32_t sum = 0;
    for (const StepCost &step : steps) {
        sum += step.step_count;
    }
    CHECK(sum == cost.step_count);
    std::vector<LevelCost> levels(GOOD(request.get_level_costs({})));
    CHECK(levels.size() == info.level_count && GOOD(request.get_level_costs(levels)) == levels.size());
    CHECK(levels.back().level_size == info.image_size && levels.back().step_count == cost.step_count);
    CHECK(GOOD(request.get_level_costs()).back().step_count == cost.step_count);
}

static void generate_image_gives_pixels(const Model &model, const char *bundle)
{
    const std::uint32_t size = GOOD(model.get_info()).image_size;
    const std::string name(GOOD(model.get_class_name(0)));
    Bytes one(size * size * 4), same(one.size()), other(one.size());
    GOOD(generate_image(model, name, 3, Image(Format::rgba8, size, size, one)));
    Request request = request_of(model, 1, 3);
    GOOD(request.set_class(0));
    GOOD(GOOD(generate(request)).decode(0, Image(Format::rgba8, size, size, same)));
    CHECK(one == same);
    GOOD(generate_image(model, "0", 4, Image(Format::rgba8, size, size, other)));
    CHECK(one != other);
    const std::uint32_t coarse = GOOD(model.get_level(0)).level_size;
    GOOD(generate_image(model, name, 3, Image(Format::rgba8, coarse, coarse, other)));
    BAD(generate_image(model, name, 3, Image(Format::rgba8, size - 1, size - 1, other)), Status::invalid_argument, "");
    BAD(generate_image(model, "no such class", 3, Image(Format::rgba8, size, size, other)), Status::invalid_argument,
        "no such class");
    BAD(generate_image(Model(), name, 3, Image(Format::rgba8, size, size, other)), Status::invalid_argument, "moved");

    /* Without a model it is the default bundle. */
    CHECK(setenv("DETAILFLOW_BUNDLE", bundle, 1) == 0);
    std::fill(same.begin(), same.end(), std::uint8_t{0});
    GOOD(generate_image(name, 3, Image(Format::rgba8, size, size, same)));
    CHECK(one == same);
    CHECK(unsetenv("DETAILFLOW_BUNDLE") == 0);
}

static void generation_steps_and_is_read(const Model &model)
{
    const ModelInfo info = GOOD(model.get_info());
    Request request = request_of(model, 2, 11);
    GOOD(request.set_log_probabilities(true));
    Generation generation = GOOD(Generation::make(request));
    const std::uint64_t seeds[] = {11, 99};

    /* In slices. */
    CHECK(GOOD(generation.get_progress()).steps_done == 0 && GOOD(generation.get_tokens(0)).empty());
    BAD(generation.decode_level(0, Image(Format::rgb8, 1, 1, nullptr, 0)), Status::wrong_state, "");
    CHECK(generation.get_message() == last_message());
    CHECK(GOOD(generation.step()).steps_done == 1);
    Generation fork = GOOD(generation.fork(seeds));
    BAD(generation.fork(Span(seeds).first(1)), Status::invalid_argument, "");
    CHECK(GOOD(fork.get_memory()).shared_bytes > 0 && GOOD(generation.get_memory()).own_bytes > 0);
    CHECK(GOOD(generation.advance(0)).steps_done == 2);
    const Level coarse = GOOD(model.get_level(0));
    Progress progress = GOOD(generation.advance_to_level(coarse.level_size));
    CHECK(progress.level_size >= coarse.level_size);
    CHECK(GOOD(generation.advance_to_level(coarse.level_size)).steps_done == progress.steps_done);
    BAD(generation.advance_to_level(info.image_size + 1), Status::invalid_argument, "");
    Bytes pixels(info.image_size * info.image_size * 4);
    GOOD(generation.decode_level(1, Image(Format::rgba8, progress.level_size, progress.level_size, pixels)));
    GOOD(generation.decode(1, Image(Format::rgba8, progress.prefix_size, progress.prefix_size, pixels)));
    BAD(generation.decode(2, Image(Format::rgba8, progress.prefix_size, progress.prefix_size, pixels)),
        Status::invalid_argument, "");
    progress = GOOD(generation.finish());
    CHECK(progress.steps_left == 0 && progress.token_count == info.token_count && progress.image_count == 2);
    CHECK(GOOD(generation.get_work()) == 2 * progress.steps_done);
    GOOD(generation.save(0, "generation.png"));
    CHECK(GOOD(generation.get_image_source(1)).seed == 12 && GOOD(generation.get_image_source(1)).class_index == 0);

    /* What was generated. */
    const Tokens tokens = GOOD(generation.get_tokens(0));
    Tokens same(info.token_count);
    CHECK(GOOD(generation.get_tokens(0, same)) == info.token_count && same == tokens);
    BAD(generation.get_tokens(0, Span(same).first(1)), Status::invalid_argument, "");
    BAD(generation.get_tokens(2), Status::invalid_argument, "2");
    GOOD(fork.finish());
    CHECK(GOOD(fork.get_tokens(0)) == tokens && GOOD(fork.get_image_source(1)).seed == 99);
    const std::vector<float> likely = GOOD(generation.get_log_probabilities(0));
    std::vector<float> scored(info.token_count);
    CHECK(likely.size() == info.token_count && GOOD(model.score(0, tokens, scored)) == info.token_count);
    CHECK(GOOD(model.score(0, tokens, {})) == info.token_count);
    CHECK(std::fabs(scored[0] - likely[0]) < 1e-3f && GOOD(generation.get_mean_log_probability(0)) < 0.0f);
    CHECK(GOOD(generation.get_log_probabilities(0, scored)) == info.token_count && scored == likely);
    BAD(model.score(info.class_count, tokens, scored), Status::invalid_argument, "");
    CHECK(GOOD(GOOD(generate(request)).get_tokens(0)) == tokens);

    /* Fewer pictures, and another level. */
    const std::uint32_t second[] = {1}, none[] = {2};
    GOOD(generation.retain_images(second));
    BAD(generation.retain_images(none), Status::invalid_argument, "");
    CHECK(GOOD(generation.get_progress()).image_count == 1 && GOOD(generation.get_image_source(0)).seed == 12);
    const Level lower = level_from_end(model, 1);
    GOOD(request.set_level_size(lower.level_size));
    Generation stops = GOOD(generate(request));
    CHECK(GOOD(stops.get_progress()).steps_left == 0 && GOOD(stops.get_tokens(0)).size() == lower.token_count);
    GOOD(stops.set_level_size(0));
    BAD(stops.set_level_size(info.image_size + 1), Status::invalid_argument, "");
    GOOD(stops.finish());
    CHECK(GOOD(stops.get_tokens(0)) == tokens);

    /* Cancelled from another thread; what was generated stays. */
    Generation stopped = GOOD(Generation::make(request));
    GOOD(stopped.step());
    const Cancel cancel = GOOD(stopped.get_cancel());
    std::thread([&cancel] { GOOD(cancel.trigger()); }).join();
    BAD(stopped.step(), Status::cancelled, "");
    CHECK(!GOOD(stopped.get_tokens(0)).empty());

    /* Variations. */
    GOOD(request.set_level_size(0));
    Generation varied = GOOD(vary(request, tokens, coarse.level_size));
    const Tokens variation = GOOD(varied.get_tokens(1));
    CHECK(std::equal(tokens.begin(), tokens.begin() + coarse.token_count, variation.begin()));
    BAD(vary(request, tokens, coarse.level_size + 1), Status::invalid_argument, "");
    Bytes grey(8 * 8 * 3, 128);
    const Generation detailed = GOOD(redetail(request, ConstImage(Format::rgb8, 8, 8, grey), coarse.level_size));
    CHECK(GOOD(detailed.get_tokens(0)).size() == info.token_count);
    const Generation from_file = GOOD(redetail_file(request, "generation.png", coarse.level_size));
    CHECK(GOOD(from_file.get_tokens(0)).size() == info.token_count);
    BAD(redetail_file(request, "none.png", coarse.level_size), Status::not_found, "none.png");
}

/* const members work while another thread steps, and see whole steps only. */
static void readers_run_beside_steps(const Model &model)
{
    const Request request = request_of(model, 2, 31);
    Generation generation = GOOD(Generation::make(request));
    const Generation &reader = generation;
    std::atomic<bool> finished{false};
    std::thread reading([&] {
        std::uint32_t seen = 0;
        do {
            const Progress progress = GOOD(reader.get_progress());
            const Tokens tokens = GOOD(reader.get_tokens(1));
            CHECK(progress.token_count >= seen && tokens.size() >= progress.token_count);
            seen = progress.token_count;
            if (progress.level_size > 0) {
                const std::uint32_t size = GOOD(model.get_info()).image_size;
                Bytes pixels(size * size * 4);
                /* The level may have changed since: then the size is refused, and never BUSY. */
                const Result<void> decoded =
                    reader.decode_level(1, Image(Format::rgba8, progress.level_size, progress.level_size, pixels));
                CHECK(decoded || decoded.status() == Status::invalid_argument);
            }
            CHECK(GOOD(reader.get_image_source(1)).seed == 32);
            CHECK(GOOD(reader.get_memory()).own_bytes > 0);
        } while (!finished);
    });
    GOOD(generation.finish());
    finished = true;
    reading.join();
    CHECK(GOOD(reader.get_progress()).steps_left == 0);
}

static void best_of_retains_best(const Model &model)
{
    const Level coarse = GOOD(model.get_level(0));
    Request request = request_of(model, 4, 1);
    std::uint32_t survivors[2] = {9, 9};
    float scores[4] = {};
    BestOfOptions options = GOOD(BestOfOptions::make());
    BAD(best_of(request, options), Status::invalid_argument, "");
    GOOD(options.add_round(coarse.level_size, 2));
    BestOfOptions none_left = GOOD(BestOfOptions::make());
    GOOD(none_left.add_round(coarse.level_size, 0));
    BAD(best_of(request, none_left), Status::invalid_argument, "");

    GOOD(options.set_scorer_log_probability());
    Generation likely = GOOD(best_of(request, options, survivors, scores));
    CHECK(GOOD(likely.get_progress()).image_count == 2 && survivors[0] < 4);
    CHECK(scores[survivors[0]] >= scores[survivors[1]]);
    CHECK(GOOD(best_of(request, options)).get() != nullptr);

    /* The picture is copied. */
    {
        Bytes grey(8 * 8 * 3, 128);
        GOOD(options.set_scorer_likeness(ConstImage(Format::rgb8, 8, 8, grey)));
    }
    CHECK(GOOD(best_of(request, options, survivors, scores)).get() != nullptr && scores[survivors[0]] <= 0.0f);

    /* A lambda with state, one that is const, and a function. */
    std::uint32_t calls = 0;
    auto later = [&calls](const Candidate &candidate) {
        CHECK(candidate.pixels != nullptr && candidate.token_count > 0 && candidate.image_index == calls);
        calls++;
        return static_cast<float>(candidate.image_index);
    };
    GOOD(options.set_scorer_function(later));
    GOOD(best_of(request, options, survivors));
    CHECK(calls == 4 && survivors[0] == 3 && survivors[1] == 2);
    const auto earlier = [](const Candidate &candidate) { return -static_cast<float>(candidate.image_index); };
    GOOD(options.set_scorer_function(earlier));
    GOOD(best_of(request, options, survivors));
    CHECK(survivors[0] == 0 && survivors[1] == 1);
    const detailflow_score_fn function = [](void *, const detailflow_candidate *candidate) {
        return candidate->image_index == 2 ? 1.0f : 0.0f;
    };
    GOOD(options.set_scorer_function(function, nullptr));
    GOOD(best_of(request, options, survivors));
    CHECK(survivors[0] == 2);

    BAD(options.set_scorer_function(nullptr, nullptr), Status::invalid_argument, "NULL");
    CHECK(options.get_message().find("NULL") != std::string::npos);
    BAD(best_of(request, options, Span(survivors).first(1)), Status::invalid_argument, "1");
    BAD(best_of(request, options, survivors, Span(scores).first(1)), Status::invalid_argument, "1");
    BAD(best_of(request, BestOfOptions()), Status::invalid_argument, "NULL");
}

static void costs_follow_calibration(const Model &model)
{
    const ModelInfo info = GOOD(model.get_info());
    const std::uint32_t batch_sizes[] = {1};
    GOOD(model.calibrate(batch_sizes));
    CHECK(GOOD(model.predict_decode(info.token_count)) > 0);
    CHECK(GOOD(GOOD(Request::make(model)).get_cost()).time_ns > 0);
    BAD(model.calibrate({}), Status::invalid_argument, "");
    BAD(model.predict_decode(info.token_count + 1), Status::invalid_argument, "");
}

static void token_files_tell_damage(const Model &model)
{
    const ModelInfo info = GOOD(model.get_info());
    Request request = request_of(model, 1, 21);
    const Tokens tokens = GOOD(GOOD(generate(request)).get_tokens(0));
    const Bytes whole = GOOD(dft_encode(model, tokens, 0, 21));
    Bytes same(whole.size());
    CHECK(GOOD(dft_encode(model, tokens, 0, 21, same)) == whole.size() && same == whole);
    BAD(dft_encode(model, tokens, info.class_count, {}), Status::invalid_argument, "");
    CHECK(GOOD(dft_get_info(GOOD(dft_encode(model, tokens)))).class_index == DETAILFLOW_NO_CLASS);

    const DftInfo intact = GOOD(dft_get_info(whole));
    CHECK(damage(intact) == Damage::none && intact.intact_count == info.token_count);
    CHECK(intact.has_seed == 1 && intact.seed == 21);
    CHECK(GOOD(dft_get_tokens(whole)) == tokens);
    Tokens room(info.token_count);
    CHECK(GOOD(dft_get_tokens(whole, room)) == info.token_count && room == tokens);
    GOOD(dft_check(model, whole));
    BAD(dft_check(model, Span(whole).first(3)), Status::bad_format, "");
    BAD(dft_get_info(Span(whole).first(3)), Status::bad_format, "");

    /* Cut, and generated again. */
    const Span<const std::uint8_t> cut = Span<const std::uint8_t>(whole).first(whole.size() - 1);
    CHECK(damage(GOOD(dft_get_info(cut))) == Damage::cut && GOOD(dft_get_tokens(cut)).size() < info.token_count);
    CHECK(GOOD(dft_repair(request, cut)) == whole);
    std::fill(same.begin(), same.end(), std::uint8_t{0});
    CHECK(GOOD(dft_repair(request, cut, info.token_count, same)) == whole.size() && same == whole);
    Bytes more = whole;
    more.push_back(0);
    CHECK(damage(GOOD(dft_get_info(more))) == Damage::surplus);
    more.pop_back();
    more.back() ^= 1;
    CHECK(damage(GOOD(dft_get_info(more))) == Damage::group);

    /* Many in one. */
    PackWriter writer = GOOD(PackWriter::make("pictures.dftpack"));
    CHECK(GOOD(writer.add("first", whole)) == 0 && GOOD(writer.add({}, whole)) == 1);
    BAD(writer.add("first", whole), Status::invalid_argument, "first");
    BAD(writer.add("second", cut), Status::bad_format, "");
    CHECK(!writer.get_message().empty());
    GOOD(writer.finish());
    BAD(writer.finish(), Status::wrong_state, "");
    BAD(PackWriter::make("no/such/folder/pictures.dftpack"), Status::io, shown("no/such/folder").c_str());

    const Pack pack = GOOD(Pack::open("pictures.dftpack"));
    CHECK(GOOD(pack.get_count()) == 2 && GOOD(pack.find_entry("first")) == 0);
    CHECK(GOOD(pack.get_entry_name(0)) == "first" && GOOD(pack.get_entry_name(1)).empty());
    CHECK(GOOD(pack.get_entry(1)) == whole && GOOD(pack.get_entry_tokens(0)) == tokens);
    CHECK(GOOD(pack.get_entry(0, same)) == whole.size() && GOOD(pack.get_entry_tokens(0, room)) == info.token_count);
    CHECK(GOOD(pack.get_entry_info(0)).intact_count == info.token_count);
    BAD(pack.find_entry("nobody"), Status::not_found, "nobody");
    BAD(pack.get_entry_name(2), Status::invalid_argument, "2");
    BAD(pack.get_entry(2), Status::invalid_argument, "2");
    CHECK(pack.get_message() == last_message());

    const Bytes all = read("pictures.dftpack");
    CHECK(GOOD(tokens_get_kind(all)) == TokensKind::pack && GOOD(tokens_get_kind(whole)) == TokensKind::dft);
    const char json[] = "{\"sequences\": []}                ";
    CHECK(GOOD(tokens_get_kind({reinterpret_cast<const std::uint8_t *>(json), 32})) == TokensKind::json);
    CHECK(GOOD(tokens_get_kind(read("picture.png"))) == TokensKind::none);
    BAD(tokens_get_kind({nullptr, 4}), Status::invalid_argument, "NULL");
    write("cut.dftpack", Span<const std::uint8_t>(all).first(all.size() - 1));
    BAD(Pack::open("cut.dftpack"), Status::bad_format, "");
    const Salvaged salvaged = GOOD(pack_salvage("cut.dftpack", "saved.dftpack"));
    CHECK(salvaged.entry_count == 2 && salvaged.shortened_count == 0);
    CHECK(GOOD(GOOD(Pack::open("saved.dftpack")).get_entry(0)) == whole);
    BAD(pack_salvage("none.dftpack", "saved.dftpack"), Status::not_found, "none.dftpack");
}

static void bundle_strip_keeps_decoder(const char *bundle, const Model &model, const Tokens &tokens)
{
    GOOD(bundle_strip(bundle, "stripped"));
    const Model stripped = GOOD(Model::open("stripped"));
    const ModelInfo info = GOOD(stripped.get_info());
    CHECK(info.can_generate == 0 && info.can_encode == 0);
    const std::uint32_t size = info.image_size;
    Bytes here(size * size * 4), there(here.size());
    GOOD(model.decode(tokens, 0, Image(Format::rgba8, size, size, here)));
    GOOD(stripped.decode(tokens, 0, Image(Format::rgba8, size, size, there)));
    CHECK(here == there);
    BAD(Generation::make(GOOD(Request::make(stripped))), Status::wrong_state, "");
    BAD(bundle_strip(bundle, bundle), Status::invalid_argument, "");
    BAD(bundle_strip(bundle, "other", "fp7"), Status::invalid_argument, "fp7");
}

static void worker_is_driven_by_ticks(const Model &model)
{
    const std::uint32_t coarse = GOOD(model.get_level(0)).level_size, fine = GOOD(model.get_info()).image_size;
    Request request = request_of(model, 1, 9);
    const Tokens expected = GOOD(GOOD(generate(request)).get_tokens(0));
    GOOD(request.set_level_size(coarse));
    WorkerOptions options = GOOD(WorkerOptions::make());
    GOOD(options.set_threads(0));
    GOOD(options.set_order(WorkerOrder::priority_first));
    const Worker worker = GOOD(Worker::make(options));
    BAD(worker.wait(0), Status::wrong_state, "threads");
    SubmitOptions how = GOOD(SubmitOptions::make());
    GOOD(how.set_user(3));
    GOOD(how.set_flags(SubmitFlag::hold));
    GOOD(how.set_priority(2));
    BAD(how.set_flags(static_cast<SubmitFlag>(64)), Status::invalid_argument, "flags");
    CHECK(how.get_message().find("flags") != std::string::npos);
    Bytes pixels(std::size_t(4) * fine * fine);
    Image targets[] = {Image(Format::rgba8, fine, fine, pixels)};
    GOOD(how.set_target(0, targets));
    const std::uint64_t job = GOOD(worker.submit(request, how));
    GOOD(worker.set_priority(job, 0.5f));
    GOOD(worker.pause(job));
    CHECK(GOOD(worker.tick(UINT64_MAX)).parked_count == 1);
    GOOD(worker.resume(job));
    /* Held at the coarsest level, then continued to the finest. */
    for (const EventKind until : {EventKind::level, EventKind::done}) {
        for (bool over = false; !over;) {
            CHECK(GOOD(worker.tick(0)).unit_count == 1);
            for (Event event = GOOD(worker.poll()); event; event = GOOD(worker.poll())) {
                const EventInfo info = GOOD(event.get_info());
                over = over || kind(info) == until;
                CHECK(info.user == 3 && info.decoded == 1);
                if (kind(info) == EventKind::done) {
                    CHECK(GOOD(event.get_tokens(0)) == expected);
                    Bytes same(pixels.size());
                    GOOD(event.decode_level(0, Image(Format::rgba8, fine, fine, same)));
                    CHECK(same == pixels);
                }
            }
        }
        if (until == EventKind::level) {
            CHECK(GOOD(worker.tick(UINT64_MAX)).parked_count == 1);
            GOOD(worker.continue_to(job, 0));
        }
    }
    CHECK(GOOD(worker.get_pending()) == 0);
}

static void worker_reports_events(const Model &model)
{
    const Request request = request_of(model, 2, 5);
    const Tokens expected = GOOD(GOOD(generate(request)).get_tokens(1));
    WorkerOptions options = GOOD(WorkerOptions::make());
    GOOD(options.set_threads(2));
    GOOD(options.set_event_bytes(1 << 20));
    GOOD(options.set_batch_size(8));
    GOOD(options.set_batch_bytes(1 << 30));
    BAD(options.set_batch_bytes(0), Status::invalid_argument, "");
    BAD(options.set_threads(65), Status::invalid_argument, "");
    CHECK(!options.get_message().empty());
    BAD(Worker::make(WorkerOptions()), Status::invalid_argument, "moved");
    const Worker worker = GOOD(Worker::make(options));
    CHECK(!GOOD(worker.poll()) && !GOOD(worker.wait(1000)) && GOOD(worker.get_pending()) == 0);

    /* Every level in order, then the end; pictures are those of the tokens. */
    const std::uint64_t job = GOOD(worker.submit(request, 77, SubmitFlag::decode));
    std::uint32_t level = 0;
    for (bool over = false; !over;) {
        const Event event = GOOD(worker.wait(UINT64_MAX));
        const EventInfo info = GOOD(event.get_info());
        CHECK(info.job == job && info.user == 77 && status(info) == Status::ok);
        CHECK(GOOD(event.get_job_message()).empty());
        over = kind(info) == EventKind::done;
        if (!over) {
            CHECK(kind(info) == EventKind::level && info.level_size > level);
        }
        level = info.level_size;
        Bytes pixels(std::size_t(4) * level * level), same(pixels.size());
        GOOD(event.decode_level(1, Image(Format::rgba8, level, level, pixels)));
        const Tokens tokens = GOOD(event.get_tokens(1));
        GOOD(model.decode(tokens, level, Image(Format::rgba8, level, level, same)));
        CHECK(pixels == same);
        Tokens room(tokens.size());
        CHECK(GOOD(event.get_tokens(1, room)) == tokens.size() && room == tokens);
        if (over) {
            CHECK(tokens == expected);
        }
        BAD(event.get_tokens(2), Status::invalid_argument, "2");
    }
    CHECK(GOOD(worker.get_pending()) == 0 && level == GOOD(model.get_info()).image_size);

    /* A generation is taken; an empty one is refused. */
    Generation generation = GOOD(Generation::make(request));
    GOOD(worker.submit_generation(std::move(generation), 0, SubmitFlag::last_only | SubmitFlag::decode));
    CHECK(!generation);
    CHECK(kind(GOOD(GOOD(worker.wait(UINT64_MAX)).get_info())) == EventKind::done);
    BAD(worker.submit_generation(Generation()), Status::invalid_argument, "");
    BAD(worker.submit(Request()), Status::invalid_argument, "");
    BAD(worker.cancel(1000), Status::invalid_argument, "1000");
    CHECK(worker.get_message().find("1000") != std::string::npos);

    /* A callback receives events instead. Cancelled or done: every job has one last event. */
    std::atomic<int> ends{0};
    const auto callback = [&](Event event) {
        const EventKind what = kind(GOOD(event.get_info()));
        CHECK(what == EventKind::done || what == EventKind::cancelled);
        ends++;
    };
    GOOD(worker.set_callback(callback));
    const std::uint64_t first = GOOD(worker.submit(request, 0, SubmitFlag::last_only));
    (void)worker.cancel(first); /* It may have ended. */
    GOOD(worker.submit(request, 0, SubmitFlag::last_only));
    GOOD(worker.cancel_all());
    while (GOOD(worker.get_pending()) > 0) {
        std::this_thread::yield();
    }
    GOOD(worker.clear_callback());
    CHECK(ends == 2);
    Event none;
    BAD(none.get_info(), Status::invalid_argument, "");
    GOOD(worker.submit(request)); /* The worker is destroyed with a job in flight. */
}

static void worker_close_stops_callback(const Model &model)
{
    const Request request = request_of(model, 1, 5);
    const Worker worker = GOOD(Worker::make());
    std::atomic<bool> inside{false}, leave{false};
    const auto callback = [&](Event) {
        inside = true;
        while (!leave) {
            std::this_thread::yield();
        }
    };
    GOOD(worker.set_callback(callback));
    GOOD(worker.submit(request));
    while (!inside) {
        std::this_thread::yield();
    }
    BAD(worker.close(1000000), Status::busy, "");
    leave = true;
    GOOD(worker.close(UINT64_MAX));
    GOOD(worker.close(0));
    BAD(worker.submit(request), Status::wrong_state, "");
}

/* From one file, memory and callbacks the same as from the folder. */
static void bundles_open_from_anywhere(const char *bundle, const Model &model, const Tokens &tokens)
{
    GOOD(bundle_pack(bundle, "packed.dflow"));
    GOOD(bundle_unpack("packed.dflow", "unpacked"));
    BAD(bundle_pack("packed.dflow", "packed.dflow"), Status::invalid_argument, "itself");
    BAD(bundle_unpack("none.dflow", "other"), Status::not_found, "none.dflow");
    const std::uint32_t size = GOOD(model.get_info()).image_size;
    const auto decode = [&](const Model &other) {
        Bytes pixels(size * size * 4);
        GOOD(other.decode(tokens, 0, Image(Format::rgba8, size, size, pixels)));
        return pixels;
    };
    const Bytes wanted = decode(model);
    const auto same = [&](const Model &other) { CHECK(decode(other) == wanted); };
    ModelOptions options = GOOD(ModelOptions::make());
    GOOD(options.set_threads(1));
    GOOD(options.set_encoder(false));
    same(GOOD(Model::open("packed.dflow", options)));
    same(GOOD(Model::open("unpacked")));

    Bytes bytes = read("packed.dflow");
    const auto shared = std::make_shared<const Bytes>(bytes);
    {
        const Model memory = GOOD(Model::open_memory(*shared, shared, options));
        CHECK(shared.use_count() == 2 && GOOD(memory.get_info()).can_encode == 0);
        same(memory);
    }
    CHECK(shared.use_count() == 1);
    BAD(Model::open_memory(Span<const std::uint8_t>(*shared).first(100), shared), Status::bad_bundle, "");
    CHECK(shared.use_count() == 1);
    BAD(Model::open_memory(*shared, shared, ModelOptions()), Status::invalid_argument, "");
    CHECK(shared.use_count() == 1);

    int reads = 0;
    bool fails = false;
    const auto read_at = [&](std::uint64_t offset, void *buffer, std::size_t count) -> std::size_t {
        reads++;
        std::memcpy(buffer, shared->data() + offset, count);
        return fails ? count - 1 : count;
    };
    const Reader reader = make_reader(shared->size(), read_at);
    same(GOOD(Model::open_reader(reader, options)));
    const int without_encoder = reads;
    reads = 0;
    same(GOOD(Model::open_reader(reader)));
    CHECK(without_encoder < reads);
    BAD(Model::open_reader(reader, ModelOptions()), Status::invalid_argument, "");
    fails = true;
    BAD(Model::open_reader(reader), Status::io, "read_at");

    same(GOOD(Model::open_memory(bytes, std::move(bytes))));
}

/* token_files_tell_damage has left a damaged pack and what was saved of it. */
static void packs_open_from_anywhere()
{
    const Bytes saved = read("saved.dftpack"), cut = read("cut.dftpack");
    const Pack file = GOOD(Pack::open("saved.dftpack"));
    const std::uint32_t count = GOOD(file.get_count());
    const auto reader_of = [](const Bytes &bytes) {
        return [&bytes](std::uint64_t offset, void *buffer, std::size_t size) -> std::size_t {
            std::memcpy(buffer, bytes.data() + offset, size);
            return size;
        };
    };
    const auto read_saved = reader_of(saved), read_cut = reader_of(cut);
    const Pack memory = GOOD(Pack::open_memory(saved));
    const Pack called = GOOD(Pack::open_reader(make_reader(saved.size(), read_saved)));
    CHECK(count > 0 && GOOD(memory.get_count()) == count && GOOD(called.get_count()) == count);
    CHECK(GOOD(memory.get_entry(0)) == GOOD(file.get_entry(0)) && GOOD(called.get_entry(0)) == GOOD(file.get_entry(0)));
    BAD(Pack::open_memory(cut), Status::bad_format, "");
    CHECK(GOOD(pack_salvage_memory(cut, "memory.dftpack")).entry_count == count);
    CHECK(GOOD(pack_salvage_reader(make_reader(cut.size(), read_cut), "reader.dftpack")).entry_count == count);
    BAD(pack_salvage_memory(Span<const std::uint8_t>(cut).first(3), "memory.dftpack"), Status::bad_format, "");
    CHECK(read("memory.dftpack") == saved && read("reader.dftpack") == saved);
}

int main(int argc, char **argv)
{
    const char *const bundle = check_bundle(argc, argv);
    CHECK(argc > 2);
    library_loads_runtime(argv[2]);
    opening_reports_progress_and_stops(bundle);
    const Model model = model_opens_with_options(bundle);
    const Tokens tokens = tokenizer_encodes_and_decodes(model);
    request_setters_check_arguments(model, tokens);
    generate_image_gives_pixels(model, bundle);
    generation_steps_and_is_read(model);
    readers_run_beside_steps(model);
    best_of_retains_best(model);
    costs_follow_calibration(model);
    token_files_tell_damage(model);
    packs_open_from_anywhere();
    bundle_strip_keeps_decoder(bundle, model, tokens);
    bundles_open_from_anywhere(bundle, model, tokens);
    worker_is_driven_by_ticks(model);
    worker_reports_events(model);
    worker_close_stops_callback(model);
    return 0;
}
