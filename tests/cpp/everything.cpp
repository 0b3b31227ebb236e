/*
 * Every class and function of detailflow.hpp, once with what it is for and once with what it refuses.
 *
 *     everything BUNDLE RUNTIME       RUNTIME: the file of ONNX Runtime
 */
#include "check.hpp"

#include <atomic>
#include <cmath>
#include <fstream>
#include <thread>

using namespace detailflow;

using Tokens = std::vector<std::uint32_t>;
using Bytes = std::vector<std::uint8_t>;

/* A level of the model, from the finest: 0, 1 ... */
static Level level_from_end(const Model &model, std::uint32_t back)
{
    const std::uint32_t count = GOOD(model.info()).level_count;
    return GOOD(model.level(count - 1 - (back < count ? back : count - 1)));
}

static Request request_of(const Model &model, std::uint32_t count, std::uint64_t seed)
{
    Request request = GOOD(Request::make(model));
    GOOD(request.set_count(count));
    GOOD(request.set_seed(seed));
    return request;
}

static std::atomic<int> logged{0};

static void the_library(const char *runtime)
{
    CHECK(matches_header() && version()[0] != 0);
    CHECK(last_message() != nullptr);
    GOOD(set_log([](void *user, std::uint32_t, const char *) { ++*static_cast<std::atomic<int> *>(user); },
                 LogLevel::info, &logged));
    BAD(set_log([](void *, std::uint32_t, const char *) {}, static_cast<LogLevel>(99)), Status::invalid_argument, "99");

    RuntimeOptions options = GOOD(RuntimeOptions::make());
    BAD(options.set_library(std::string_view("a\0b", 3)), Status::invalid_argument, "zero byte");
    BAD(options.set_library({}), Status::invalid_argument, "NULL");
    GOOD(options.set_library(runtime));
    GOOD(init_runtime(options));
    GOOD(init_runtime(options));
    BAD(init_runtime(RuntimeOptions()), Status::invalid_argument, "moved");
    GOOD(init_runtime());
}

static Model the_model(const char *bundle)
{
    ModelOptions options = GOOD(ModelOptions::make());
    GOOD(options.set_threads(1));
    BAD(options.set_threads(100000), Status::invalid_argument, "100000");
    GOOD(options.set_device("cpu"));
    BAD(options.set_device("abacus"), Status::no_device, "abacus");
    GOOD(options.set_spinning(Spinning::never));
    GOOD(options.set_spinning(Spinning::runs));
    BAD(options.set_spinning(static_cast<Spinning>(9)), Status::invalid_argument, "9");
    BAD(options.set_device_option("", "1"), Status::invalid_argument, "key");
    GOOD(options.set_allow_fallback(true));
    {
        /* The CPU has no options; a device that is not here falls back when it may. */
        ModelOptions other = GOOD(ModelOptions::make());
        GOOD(other.set_device_option("colour", "red"));
        BAD(Model::open(bundle, other), Status::invalid_argument, "colour");
        GOOD(other.set_device("plugin:/there/is/none.so"));
        BAD(Model::open(bundle, other), Status::no_device, "/there/is/none.so");
        GOOD(other.set_allow_fallback(true));
        const Model fallen = GOOD(Model::open(bundle, other));
        CHECK(std::string_view(GOOD(fallen.info()).device) == "cpu");
        CHECK(GOOD(fallen.report()).find("/there/is/none.so is not a file") != std::string::npos);
    }
    GOOD(options.set_form("plain"));
    GOOD(options.set_form({}));
    GOOD(options.set_precision("fp7"));
    BAD(Model::open(bundle, options), Status::invalid_argument, "fp7");
    CHECK(strstr(last_message(), "fp7") != nullptr);
    GOOD(options.set_precision({}));
    BAD(Model::open(bundle, ModelOptions()), Status::invalid_argument, "moved");
    BAD(Model::open("there/is/none"), Status::not_found, "there/is/none");
    /* A view into a longer text is cut where it ends. */
    const std::string longer = std::string(bundle) + "/and/more";
    Model model = GOOD(Model::open(std::string_view(longer).substr(0, strlen(bundle)), options));
    CHECK(GOOD(Model::open(bundle)).get() != nullptr);
    GOOD(clear_log());
    CHECK(logged > 0);

    CHECK(GOOD(model.report()).find("runs on cpu\nar.") == 0 && GOOD(model.report()).find("nodes on CPUExec") != 0);
    const DeviceList devices = GOOD(DeviceList::make());
    const DeviceInfo cpu = GOOD(devices.info(0));
    CHECK(GOOD(devices.count()) > 0 && cpu.sort() == DeviceKind::cpu && std::string_view(cpu.device) == "cpu");
    BAD(devices.info(1000), Status::invalid_argument, "1000");
    CHECK(cpu.metadata_count == 0 || GOOD(devices.metadata(0, 0)).first.size() > 0);
    BAD(devices.metadata(0, cpu.metadata_count), Status::invalid_argument, "metadata");

    const ModelInfo info = GOOD(model.info());
    CHECK(info.image_size > 0 && info.name[0] != 0 && GOOD(model.can_draw()) && GOOD(model.can_encode()));
    const std::string_view name = GOOD(model.class_name(info.class_count - 1));
    CHECK(GOOD(model.class_index(name)) == info.class_count - 1);
    BAD(model.class_name(info.class_count), Status::invalid_argument, "");
    BAD(model.class_index("no such class"), Status::invalid_argument, "no such class");
    CHECK(model.message().find("no such class") != std::string::npos);
    CHECK(level_from_end(model, 0).level_size == info.image_size &&
          level_from_end(model, 0).token_count == info.token_count);
    BAD(model.level(info.level_count), Status::invalid_argument, "");
    CHECK(GOOD(model.prefix_size(info.token_count)) == info.image_size);
    BAD(model.prefix_size(info.token_count + 1), Status::invalid_argument, "");
    return model;
}

static Tokens the_tokenizer(const Model &model)
{
    const ModelInfo info = GOOD(model.info());
    const std::uint32_t size = info.image_size;
    std::vector<std::uint32_t> pixels(size * size * 4);
    for (std::uint32_t at = 0; at < size * size; at++) {
        pixels[at] = 0xff000000u | at * 77u;
    }
    const ConstImage picture(Format::rgba8, size, size, Span(pixels.data(), size * size));
    GOOD(save(picture, "picture.png"));
    BAD(save(picture, "picture.nonsense"), Status::invalid_argument, "");

    Tokens tokens(GOOD(model.encode(picture, {})));
    CHECK(tokens.size() == info.token_count && GOOD(model.encode(picture, tokens)) == tokens.size());
    Tokens again(tokens.size());
    CHECK(GOOD(model.encode_file("picture.png", again)) == tokens.size() && again == tokens);
    BAD(model.encode(picture, Span(again).first(1)), Status::invalid_argument, "");
    BAD(model.encode_file("none.png", again), Status::not_found, "none.png");

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
    GOOD(upscale(Image(Format::rgba8, size, size, rgba), 2, twice));
    CHECK(memcmp(&large[0], &large[4], 4) == 0 && memcmp(&large[0], &rgba[0], 4) == 0);
    BAD(upscale(twice, 65, twice), Status::invalid_argument, "");

    /* Levels of detail. */
    const Level lower = level_from_end(model, 1);
    CHECK(GOOD(model.demote(tokens, lower.level_size)) == lower.token_count);
    BAD(model.demote(tokens, lower.level_size + 1), Status::invalid_argument, "");
    std::uint32_t sizes[32];
    const std::size_t count = GOOD(mip_sizes(size, sizes));
    CHECK(count == GOOD(mip_sizes(size, {})) && sizes[0] == size && sizes[count - 1] == 1);
    std::vector<Bytes> memory(count);
    std::vector<Image> targets;
    for (std::size_t at = 0; at < count; at++) {
        memory[at].resize(sizes[at] * sizes[at] * 4);
        targets.emplace_back(Format::rgba8, sizes[at], sizes[at], memory[at]);
    }
    GOOD(model.mips(tokens, Mips::from_levels, targets));
    CHECK(memory[0] == rgba);
    GOOD(model.mips(tokens, Mips::from_finest, targets));
    CHECK(memory[0] == rgba);
    BAD(model.mips(tokens, static_cast<Mips>(9), targets), Status::invalid_argument, "9");

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

static void the_request(const Model &model, const Tokens &tokens)
{
    const ModelInfo info = GOOD(model.info());
    const Level lower = level_from_end(model, 1);
    Request request = GOOD(Request::make(model));
    GOOD(request.set_count(3));
    GOOD(request.set_class(info.class_count - 1));
    GOOD(request.set_seed(5));
    GOOD(request.set_image(1, 0, 77));
    GOOD(request.set_guidance(2.5f));
    GOOD(request.set_gradual(true));
    GOOD(request.set_temperature(0.7f));
    GOOD(request.set_top_k(5));
    GOOD(request.set_top_p(0.9f));
    GOOD(request.set_log_probabilities(true));
    BAD(request.set_count(0), Status::invalid_argument, "");
    BAD(request.set_class(info.class_count), Status::invalid_argument, "");
    BAD(request.set_image(3, 0, 0), Status::invalid_argument, "");
    BAD(request.set_guidance(-1.0f), Status::invalid_argument, "");
    BAD(request.set_temperature(NAN), Status::invalid_argument, "");
    BAD(request.set_top_p(1.5f), Status::invalid_argument, "");
    CHECK(!request.message().empty() && request.message() == last_message());

    const std::uint32_t at[] = {0, info.token_count - 1};
    const float falling[] = {3.0f, 1.0f}, rising[] = {0.5f, 1.0f}, more[] = {1.0f, 8.0f};
    GOOD(request.set_guidance(at, falling));
    GOOD(request.set_temperature(at, rising));
    GOOD(request.set_top_k(at, more));
    GOOD(request.set_top_p(at, rising));
    BAD(request.set_top_p(at, Span(rising).first(1)), Status::invalid_argument, "2 and 1");
    BAD(request.set_top_p({}, {}), Status::invalid_argument, "");

    GOOD(request.set_level(lower.level_size));
    BAD(request.set_level(lower.level_size + 1), Status::invalid_argument, "");
    GOOD(request.set_level(0));
    GOOD(request.set_prefix(tokens, lower.level_size));
    GOOD(request.set_prefix(Span(tokens).first(info.causal_count)));
    BAD(request.set_prefix(Span(tokens).first(info.token_count - 1)), Status::invalid_argument, "");
    GOOD(request.set_image_prefix(2, Span(tokens).first(info.causal_count)));
    GOOD(request.set_prefix({}));
    Bytes grey(8 * 8 * 3, 128);
    GOOD(request.set_prefix_picture(ConstImage(Format::rgb8, 8, 8, grey), lower.level_size));
    CHECK(GOOD(GOOD(Generation::make(request)).progress()).token_count == lower.token_count);
    GOOD(request.set_prefix({}));

    const Cost cost = GOOD(request.cost());
    CHECK(cost.step_count > 0 && cost.kv_cache_bytes > 0 && cost.output_bytes > 0);
    std::vector<StepCost> steps(GOOD(request.step_costs({})));
    CHECK(!steps.empty() && GOOD(request.step_costs(steps)) == steps.size());
    std::uint32_t sum = 0;
    for (const StepCost &step : steps) {
        sum += step.step_count;
    }
    CHECK(sum == cost.step_count);
    std::vector<LevelCost> levels(GOOD(request.level_costs({})));
    CHECK(levels.size() == info.level_count && GOOD(request.level_costs(levels)) == levels.size());
    CHECK(levels.back().level_size == info.image_size && levels.back().step_count == cost.step_count);
}

static void the_generation(const Model &model)
{
    const ModelInfo info = GOOD(model.info());
    Request request = request_of(model, 2, 11);
    GOOD(request.set_log_probabilities(true));
    Generation generation = GOOD(Generation::make(request));
    const std::uint64_t seeds[] = {11, 99};

    /* In slices. */
    CHECK(GOOD(generation.progress()).steps_done == 0 && GOOD(generation.tokens(0)).empty());
    BAD(generation.level_image(0, Image(Format::rgb8, 1, 1, nullptr, 0)), Status::wrong_state, "");
    CHECK(generation.message() == last_message());
    CHECK(GOOD(generation.step()).steps_done == 1);
    Generation fork = GOOD(generation.fork(seeds));
    BAD(generation.fork(Span(seeds).first(1)), Status::invalid_argument, "");
    CHECK(GOOD(fork.memory()).shared > 0 && GOOD(generation.memory()).own > 0);
    CHECK(GOOD(generation.advance(0)).steps_done == 2);
    Progress progress = GOOD(generation.advance(1));
    while (progress.level_size == 0) {
        progress = GOOD(generation.advance(1000));
    }
    Bytes pixels(info.image_size * info.image_size * 4);
    GOOD(generation.level_image(1, Image(Format::rgba8, progress.level_size, progress.level_size, pixels)));
    GOOD(generation.image(1, Image(Format::rgba8, progress.prefix_size, progress.prefix_size, pixels)));
    BAD(generation.image(2, Image(Format::rgba8, progress.prefix_size, progress.prefix_size, pixels)),
        Status::invalid_argument, "");
    progress = GOOD(generation.finish());
    CHECK(progress.steps_left == 0 && progress.token_count == info.token_count && progress.image_count == 2);
    CHECK(GOOD(generation.work()) == 2 * progress.steps_done);
    GOOD(generation.save(0, "generation.png"));
    CHECK(GOOD(generation.picture(1)).seed == 12 && GOOD(generation.picture(1)).class_index == 0);

    /* What was drawn. */
    const Tokens tokens = GOOD(generation.tokens(0));
    Tokens same(info.token_count);
    CHECK(GOOD(generation.tokens(0, same)) == info.token_count && same == tokens);
    BAD(generation.tokens(0, Span(same).first(1)), Status::invalid_argument, "");
    GOOD(fork.finish());
    CHECK(GOOD(fork.tokens(0)) == tokens && GOOD(fork.picture(1)).seed == 99);
    const std::vector<float> likely = GOOD(generation.log_probabilities(0));
    std::vector<float> scored(info.token_count);
    CHECK(likely.size() == info.token_count && GOOD(model.score(0, tokens, scored)) == info.token_count);
    CHECK(GOOD(model.score(0, tokens, {})) == info.token_count);
    CHECK(std::fabs(scored[0] - likely[0]) < 1e-3f && GOOD(generation.mean_log_probability(0)) < 0.0f);
    CHECK(GOOD(generation.log_probabilities(0, scored)) == info.token_count && scored == likely);
    BAD(model.score(info.class_count, tokens, scored), Status::invalid_argument, "");
    CHECK(GOOD(GOOD(generate(request)).tokens(0)) == tokens);

    /* Fewer pictures, and another level. */
    const std::uint32_t second[] = {1}, none[] = {2};
    GOOD(generation.keep(second));
    BAD(generation.keep(none), Status::invalid_argument, "");
    CHECK(GOOD(generation.progress()).image_count == 1 && GOOD(generation.picture(0)).seed == 12);
    GOOD(request.set_level(level_from_end(model, 1).level_size));
    Generation stops = GOOD(generate(request));
    CHECK(GOOD(stops.progress()).steps_left == 0 &&
          GOOD(stops.tokens(0)).size() == level_from_end(model, 1).token_count);
    GOOD(stops.set_level(0));
    BAD(stops.set_level(info.image_size + 1), Status::invalid_argument, "");
    GOOD(stops.finish());
    CHECK(GOOD(stops.tokens(0)) == tokens);

    /* Cancelled, from another thread; what was drawn stays. */
    Generation stopped = GOOD(Generation::make(request));
    GOOD(stopped.step());
    const Cancel cancel = GOOD(stopped.cancel_handle());
    std::thread([&cancel] { GOOD(cancel.trigger()); }).join();
    BAD(stopped.step(), Status::cancelled, "");
    CHECK(!GOOD(stopped.tokens(0)).empty());

    /* Variations. */
    const Level coarse = GOOD(model.level(0));
    GOOD(request.set_level(0));
    Generation varied = GOOD(vary(request, tokens, coarse.level_size));
    const Tokens variation = GOOD(varied.tokens(1));
    CHECK(std::equal(tokens.begin(), tokens.begin() + coarse.token_count, variation.begin()));
    BAD(vary(request, tokens, coarse.level_size + 1), Status::invalid_argument, "");
    Bytes grey(8 * 8 * 3, 128);
    CHECK(GOOD(GOOD(redetail(request, ConstImage(Format::rgb8, 8, 8, grey), coarse.level_size)).tokens(0)).size() ==
          info.token_count);
    CHECK(GOOD(GOOD(redetail_file(request, "generation.png", coarse.level_size)).tokens(0)).size() == info.token_count);
    BAD(redetail_file(request, "none.png", coarse.level_size), Status::not_found, "none.png");
}

static void the_best(const Model &model)
{
    const Level coarse = GOOD(model.level(0));
    Request request = request_of(model, 4, 1);
    const std::uint32_t levels[] = {coarse.level_size}, keeps[] = {2};
    std::uint32_t survivors[2] = {9, 9};
    float scores[4] = {};

    Generation likely = GOOD(best_of(request, BestOptions::by_log_probability(levels, keeps), survivors, scores));
    CHECK(GOOD(likely.progress()).image_count == 2 && survivors[0] < 4 && scores[survivors[0]] >= scores[survivors[1]]);
    CHECK(GOOD(best_of(request, BestOptions::by_log_probability(levels, keeps))).get() != nullptr);

    /* The picture is kept, not the temporary that it was handed over as. */
    Bytes grey(8 * 8 * 3, 128);
    const BestOptions like = BestOptions::by_likeness(levels, keeps, Image(Format::rgb8, 8, 8, grey));
    CHECK(GOOD(best_of(request, like, survivors, scores)).get() != nullptr && scores[survivors[0]] <= 0.0f);

    /* A lambda that remembers, one that is const, and a function. */
    std::uint32_t calls = 0;
    auto later = [&calls](const Candidate &candidate) {
        CHECK(candidate.pixels != nullptr && candidate.token_count > 0 && candidate.image_index == calls);
        calls++;
        return static_cast<float>(candidate.image_index);
    };
    GOOD(best_of(request, BestOptions::by(levels, keeps, later), survivors));
    CHECK(calls == 4 && survivors[0] == 3 && survivors[1] == 2);
    const auto earlier = [](const Candidate &candidate) { return -static_cast<float>(candidate.image_index); };
    GOOD(best_of(request, BestOptions::by(levels, keeps, earlier), survivors));
    CHECK(survivors[0] == 0 && survivors[1] == 1);
    const detailflow_score_fn function = [](void *, const detailflow_candidate *candidate) {
        return candidate->image_index == 2 ? 1.0f : 0.0f;
    };
    GOOD(best_of(request, BestOptions::by_function(levels, keeps, function), survivors));
    CHECK(survivors[0] == 2);

    BAD(best_of(request, BestOptions::by_log_probability(levels, {})), Status::invalid_argument, "keeps");
    BAD(best_of(request, BestOptions::by_log_probability({}, {})), Status::invalid_argument, "");
    BAD(best_of(request, BestOptions::by_function(levels, keeps, nullptr)), Status::invalid_argument, "NULL");
    BAD(best_of(request, BestOptions::by_log_probability(levels, keeps), Span(survivors).first(1)),
        Status::invalid_argument, "1");
}

static void the_costs(const Model &model)
{
    const ModelInfo info = GOOD(model.info());
    const std::uint32_t batches[] = {1};
    GOOD(model.calibrate(batches));
    CHECK(GOOD(model.predict_decode(info.token_count)) > 0);
    CHECK(GOOD(GOOD(Request::make(model)).cost()).time_ns > 0);
    BAD(model.calibrate({}), Status::invalid_argument, "");
    BAD(model.predict_decode(info.token_count + 1), Status::invalid_argument, "");
}

static void write(const char *path, Span<const std::uint8_t> bytes)
{
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char *>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    CHECK(file.good());
}

static void the_token_files(const Model &model)
{
    const ModelInfo info = GOOD(model.info());
    Request request = request_of(model, 1, 21);
    const Tokens tokens = GOOD(GOOD(generate(request)).tokens(0));
    const Bytes whole = GOOD(dft_encode(model, tokens, 0, 21));
    Bytes same(whole.size());
    CHECK(GOOD(dft_encode(model, tokens, 0, 21, same)) == whole.size() && same == whole);
    BAD(dft_encode(model, tokens, info.class_count, {}), Status::invalid_argument, "");
    CHECK(GOOD(dft_info(GOOD(dft_encode(model, tokens)))).class_index == DETAILFLOW_NO_CLASS);

    const DftInfo sound = GOOD(dft_info(whole));
    CHECK(damage(sound) == Damage::none && sound.intact_count == info.token_count && sound.has_seed == 1 &&
          sound.seed == 21);
    CHECK(GOOD(dft_tokens(whole)) == tokens);
    Tokens room(info.token_count);
    CHECK(GOOD(dft_tokens(whole, room)) == info.token_count && room == tokens);
    GOOD(dft_check(model, whole));
    BAD(dft_check(model, Span(whole).first(3)), Status::bad_format, "");

    /* Cut, and drawn anew. */
    const Span<const std::uint8_t> cut = Span<const std::uint8_t>(whole).first(whole.size() - 1);
    CHECK(damage(GOOD(dft_info(cut))) == Damage::cut && GOOD(dft_tokens(cut)).size() < info.token_count);
    CHECK(GOOD(dft_repair(request, cut)) == whole);
    std::fill(same.begin(), same.end(), std::uint8_t{0});
    CHECK(GOOD(dft_repair(request, cut, info.token_count, same)) == whole.size() && same == whole);
    Bytes more = whole;
    more.push_back(0);
    CHECK(damage(GOOD(dft_info(more))) == Damage::surplus);
    more.pop_back();
    more.back() ^= 1;
    CHECK(damage(GOOD(dft_info(more))) == Damage::group);

    /* Many in one. */
    PackWriter writer = GOOD(PackWriter::make("pictures.dftpack"));
    CHECK(GOOD(writer.add("first", whole)) == 0 && GOOD(writer.add({}, whole)) == 1);
    BAD(writer.add("first", whole), Status::invalid_argument, "first");
    BAD(writer.add("second", cut), Status::bad_format, "");
    CHECK(!writer.message().empty());
    GOOD(writer.finish());
    BAD(writer.finish(), Status::wrong_state, "");
    BAD(PackWriter::make("no/such/folder/pictures.dftpack"), Status::io, "no/such/folder");

    const Pack pack = GOOD(Pack::open("pictures.dftpack"));
    CHECK(GOOD(pack.count()) == 2 && GOOD(pack.find("first")) == 0 && GOOD(pack.name(0)) == "first");
    CHECK(GOOD(pack.name(1)).empty() && GOOD(pack.read(1)) == whole && GOOD(pack.tokens(0)) == tokens);
    CHECK(GOOD(pack.read(0, same)) == whole.size() && GOOD(pack.tokens(0, room)) == info.token_count);
    CHECK(GOOD(pack.info(0)).intact_count == info.token_count);
    BAD(pack.find("nobody"), Status::not_found, "nobody");
    BAD(pack.name(2), Status::invalid_argument, "2");
    BAD(pack.read(2), Status::invalid_argument, "2");
    CHECK(pack.message() == last_message());

    std::ifstream file("pictures.dftpack", std::ios::binary);
    Bytes all((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    write("cut.dftpack", Span<const std::uint8_t>(all).first(all.size() - 1));
    BAD(Pack::open("cut.dftpack"), Status::bad_format, "");
    const Salvaged salvaged = GOOD(pack_salvage("cut.dftpack", "saved.dftpack"));
    CHECK(salvaged.entries == 2 && salvaged.shortened == 0);
    CHECK(GOOD(GOOD(Pack::open("saved.dftpack")).read(0)) == whole);
    BAD(pack_salvage("none.dftpack", "saved.dftpack"), Status::not_found, "none.dftpack");
}

static void the_worker(const Model &model)
{
    const Request request = request_of(model, 2, 5);
    const Tokens expected = GOOD(GOOD(generate(request)).tokens(1));
    WorkerOptions options = GOOD(WorkerOptions::make());
    GOOD(options.set_threads(2));
    GOOD(options.set_event_bytes(1 << 20));
    GOOD(options.set_batch(8));
    GOOD(options.set_batch_bytes(1 << 30));
    BAD(options.set_batch_bytes(0), Status::invalid_argument, "at least 1");
    BAD(options.set_threads(0), Status::invalid_argument, "");
    BAD(Worker::make(WorkerOptions()), Status::invalid_argument, "moved");
    const Worker worker = GOOD(Worker::make(options));
    CHECK(!GOOD(worker.poll()) && !GOOD(worker.wait(1000)) && GOOD(worker.pending()) == 0);

    /* Every level in order, then the end; pictures are those of the tokens. */
    const std::uint64_t job = GOOD(worker.submit(request, 77, Submit::decode));
    std::uint32_t level = 0;
    for (bool over = false; !over;) {
        const Event event = GOOD(worker.wait(UINT64_MAX));
        const EventInfo info = GOOD(event.info());
        CHECK(info.job == job && info.user == 77 && event.message().empty());
        over = kind(info) == EventKind::done;
        if (!over) {
            CHECK(kind(info) == EventKind::level && info.level_size > level);
        }
        level = info.level_size;
        Bytes pixels(std::size_t(4) * level * level), same(pixels.size());
        GOOD(event.image(1, Image(Format::rgba8, level, level, pixels)));
        const Tokens tokens = GOOD(event.tokens(1));
        GOOD(model.decode(tokens, level, Image(Format::rgba8, level, level, same)));
        CHECK(pixels == same);
        Tokens room(tokens.size());
        CHECK(GOOD(event.tokens(1, room)) == tokens.size() && room == tokens);
        if (over) {
            CHECK(tokens == expected);
        }
        BAD(event.tokens(2), Status::invalid_argument, "2");
    }
    CHECK(GOOD(worker.pending()) == 0 && level == GOOD(model.info()).image_size);

    /* A generation is taken; one that is nothing stays. */
    Generation generation = GOOD(Generation::make(request));
    GOOD(worker.submit(std::move(generation), 0, Submit::last_only | Submit::decode));
    CHECK(!generation);
    CHECK(kind(GOOD(GOOD(worker.wait(UINT64_MAX)).info())) == EventKind::done);
    BAD(worker.submit(Generation()), Status::invalid_argument, "");
    BAD(worker.submit(Request()), Status::invalid_argument, "");
    BAD(worker.cancel(1000), Status::invalid_argument, "1000");
    CHECK(worker.message().find("1000") != std::string::npos);

    /* A callback hears it instead. Cancelled or done: every job has one end. */
    std::atomic<int> ends{0};
    const auto hears = [&](Event event) {
        const EventKind what = kind(GOOD(event.info()));
        CHECK(what == EventKind::done || what == EventKind::cancelled);
        ends++;
    };
    GOOD(worker.set_callback(hears));
    const std::uint64_t first = GOOD(worker.submit(request, 0, Submit::last_only));
    (void)worker.cancel(first); /* It may have ended. */
    GOOD(worker.submit(request, 0, Submit::last_only));
    GOOD(worker.cancel_all());
    while (GOOD(worker.pending()) > 0) {
        std::this_thread::yield();
    }
    GOOD(worker.clear_callback());
    CHECK(ends == 2);
    Event none;
    BAD(none.info(), Status::invalid_argument, "");
    GOOD(worker.submit(request)); /* The worker goes with a job in flight. */
}

int main(int argc, char **argv)
{
    const char *const bundle = check_bundle(argc, argv);
    CHECK(argc > 2);
    the_library(argv[2]);
    const Model model = the_model(bundle);
    const Tokens tokens = the_tokenizer(model);
    the_request(model, tokens);
    the_generation(model);
    the_best(model);
    the_costs(model);
    the_token_files(model);
    the_worker(model);
    return 0;
}
