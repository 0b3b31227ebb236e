/*
 * The OGRE part of corridor.cpp: a window, an endless corridor of brick, and rows of sprites in it that come nearer.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef HALL_HPP
#define HALL_HPP

#include "streamer.hpp"
#include <Bites/OgreWindowEventUtilities.h>
#include <Ogre.h>
#include <array>
#include <cmath>

// A quad with a texture that can be replaced.
class Picture {
public:
    // `blend`: over what is behind it, from premultiplied pixels. Otherwise it is a tile that repeats.
    Picture(const std::string &name, bool blend)
        : material_(Ogre::MaterialManager::getSingleton().create(name, Ogre::RGN_DEFAULT)), name_(name)
    {
        Ogre::Pass *const pass = material_->getTechnique(0)->getPass(0);
        pass->setLightingEnabled(false);
        pass->setVertexColourTracking(Ogre::TVC_DIFFUSE);
        if (blend) {
            pass->setSceneBlending(Ogre::SBF_ONE, Ogre::SBF_ONE_MINUS_SOURCE_ALPHA);
            pass->setDepthWriteEnabled(false);
            pass->setCullingMode(Ogre::CULL_NONE);
        }
        unit_ = pass->createTextureUnitState();
        unit_->setTextureAddressingMode(blend ? Ogre::TAM_CLAMP : Ogre::TAM_WRAP);
        // Sharp texels nearby, mips far away.
        unit_->setTextureFiltering(Ogre::FO_LINEAR, Ogre::FO_POINT, Ogre::FO_LINEAR);
    }
    Picture(const Picture &) = delete;
    Picture &operator=(const Picture &) = delete;

    const Ogre::MaterialPtr &material() const { return material_; }

    // Shows a mip chain: a new texture of its size, whose mips are those of the chain.
    void show(const Chain &chain, const detailflow::MipLayout &layout)
    {
        Ogre::TextureManager &textures = Ogre::TextureManager::getSingleton();
        const int mips = static_cast<int>(layout.offsets.size());
        Ogre::TexturePtr texture =
            textures.createManual(name_ + "/" + std::to_string(shown_++), Ogre::RGN_DEFAULT, Ogre::TEX_TYPE_2D,
                                  chain.size, chain.size, mips - 1, Ogre::PF_BYTE_RGBA, Ogre::TU_STATIC_WRITE_ONLY);
        for (int mip = 0; mip < mips; mip++) {
            const Ogre::uint32 size = std::max(chain.size >> mip, 1u);
            auto *const pixels =
                const_cast<std::uint8_t *>(chain.block.data() + layout.offsets[static_cast<std::size_t>(mip)]);
            texture->getBuffer(0, static_cast<std::size_t>(mip))
                ->blitFromMemory(Ogre::PixelBox(size, size, 1, Ogre::PF_BYTE_RGBA, pixels));
        }
        unit_->setTexture(texture);
        forget();
        texture_ = texture;
    }

    // Gives the texture back.
    void forget()
    {
        if (texture_) {
            Ogre::TextureManager::getSingleton().remove(texture_);
            texture_.reset();
        }
    }

private:
    Ogre::MaterialPtr material_;
    std::string name_;
    Ogre::TextureUnitState *unit_ = nullptr;
    Ogre::TexturePtr texture_;
    std::uint64_t shown_ = 0;
};

// A place for a sprite: which one it is changes when the camera has passed it.
struct Stand {
    std::unique_ptr<Picture> picture;
    Ogre::SceneNode *node = nullptr;
    float side = 1, x = 0, y = 0, z = 0;
    std::uint64_t serial = 0, job = 0;
    std::uint32_t wanted = 0, shown = 0;
    Source source;
};

class Hall {
    // First, so that they end last. OGRE writes no log.
    Ogre::LogManager log_;
    Ogre::Root root_;

public:
    static constexpr Ogre::uint32 WIDTH = 960, HEIGHT = 540;
    // Metres. Rows of stands come out of the dark at FAR.
    static constexpr float HALF_WIDTH = 4, TALL = 3.2F, TILE = 1.6F, ROW = 2.4F, FAR = 38, BRIGHT = 3;
    static constexpr int ROWS = 16, PER_ROW = 6, WALLS = 4, FLOORS = 3, PERIOD = 6;

    Hall() : root_((log_.createLog("", true, false, true), ""), "", "")
    {
        root_.loadPlugin(OGRE_PLUGINS "/RenderSystem_GL");
        root_.setRenderSystem(root_.getAvailableRenderers().at(0));
        root_.initialise(false);
        const Ogre::NameValuePairList options = {{"vsync", "0"}};
        window_ = root_.createRenderWindow("libdetailflow", WIDTH, HEIGHT, false, &options);
        OgreBites::WindowEventUtilities::_addRenderWindow(window_);
        scene_ = root_.createSceneManager();
        scene_->setFog(Ogre::FOG_LINEAR, Ogre::ColourValue::Black, 0, BRIGHT, FAR);
        Ogre::Camera *const camera = scene_->createCamera("camera");
        camera->setNearClipDistance(0.1F);
        camera->setFarClipDistance(FAR + ROW);
        camera->setFOVy(Ogre::Degree(55));
        camera->setAspectRatio(static_cast<float>(WIDTH) / HEIGHT);
        eye_ = scene_->getRootSceneNode()->createChildSceneNode();
        eye_->attachObject(camera);
        window_->addViewport(camera)->setBackgroundColour(Ogre::ColourValue::Black);
        for (int index = 0; index < WALLS + FLOORS; index++) {
            tiles.push_back(std::make_unique<Picture>("tile" + std::to_string(index), false));
        }
        build();
        for (std::size_t index = 0; index < ROWS * PER_ROW; index++) {
            stands.push_back(stand(index));
        }
    }
    Hall(const Hall &) = delete;
    Hall &operator=(const Hall &) = delete;
    ~Hall() { OgreBites::WindowEventUtilities::_removeRenderWindow(window_); }

    // Tiles of the walls, then those of the floor; and the sprites.
    std::vector<std::unique_ptr<Picture>> tiles;
    std::vector<Stand> stands;

    // The camera, which looks along -z.
    Ogre::Vector3 eye() const { return eye_->getPosition(); }
    void fly(float metres)
    {
        eye_->setPosition(0.5F * std::sin(metres * 0.13F), 1.5F + 0.12F * std::sin(metres * 0.21F), -metres);
        // The pattern of the tiles repeats: the corridor moves on by whole periods.
        constexpr float period = PERIOD * TILE;
        corridor_->setPosition(0, 0, -std::floor(metres / period) * period);
    }

    void place(Stand &stand, float z) const
    {
        stand.z = z;
        stand.node->setPosition(stand.x, stand.y, z);
        stand.node->setVisible(false);
    }

    // Pixels from the left and the top of the window, and pixels per metre at that distance.
    std::array<float, 3> project(const Stand &stand) const
    {
        const float scale = pixels_per_metre(stand);
        return {WIDTH / 2.0F + (stand.x - eye().x) * scale, HEIGHT / 2.0F - (stand.y - eye().y) * scale, scale};
    }
    float distance(const Stand &stand) const { return eye().z - stand.z; }
    float pixels_per_metre(const Stand &stand) const
    {
        return HEIGHT / 2.0F / std::tan(Ogre::Degree(55).valueRadians() / 2) / distance(stand);
    }
    // What the fog leaves of the light.
    float light(const Stand &stand) const { return std::clamp((FAR - distance(stand)) / (FAR - BRIGHT), 0.0F, 1.0F); }

    bool render()
    {
        OgreBites::WindowEventUtilities::messagePump();
        return !window_->isClosed() && root_.renderOneFrame();
    }

    // Writes what the window shows to a picture file.
    void save(const std::string &path)
    {
        std::vector<std::uint8_t> pixels(WIDTH * HEIGHT * 3);
        window_->copyContentsToMemory(Ogre::Box(0, 0, WIDTH, HEIGHT),
                                      Ogre::PixelBox(WIDTH, HEIGHT, 1, Ogre::PF_BYTE_RGB, pixels.data()));
        need(detailflow::image_save(detailflow::ConstImage(detailflow::Format::rgb8, WIDTH, HEIGHT, pixels), path));
    }

private:
    Stand stand(std::size_t index)
    {
        // Two creatures beside the path, two monuments on the ledges, two things that float above the gaps.
        static constexpr float xs[PER_ROW] = {-1.35F, 1.35F, -3.15F, 3.15F, -2.2F, 2.2F};
        static constexpr float bottoms[PER_ROW] = {0, 0, LEDGE, LEDGE, 1.75F, 1.75F};
        static constexpr float sides[PER_ROW] = {1.2F, 1.2F, 1.35F, 1.35F, 0.6F, 0.6F};
        Stand stand;
        const std::size_t slot = index % PER_ROW;
        stand.picture = std::make_unique<Picture>("sprite" + std::to_string(index), true);
        stand.side = sides[slot];
        stand.x = xs[slot];
        stand.y = bottoms[slot] + stand.side / 2;
        Ogre::ManualObject *const quad = scene_->createManualObject();
        const float half = stand.side / 2;
        quad->begin(stand.picture->material(), Ogre::RenderOperation::OT_TRIANGLE_LIST);
        const auto corner = [&](float x, float y) {
            quad->position(x * half, y * half, 0);
            quad->colour(Ogre::ColourValue::White);
            quad->textureCoord((x + 1) / 2, (1 - y) / 2);
        };
        corner(-1, -1), corner(1, -1), corner(1, 1), corner(-1, 1);
        quad->quad(0, 1, 2, 3);
        quad->end();
        stand.node = scene_->getRootSceneNode()->createChildSceneNode();
        stand.node->attachObject(quad);
        return stand;
    }

    // Walls, ledges and floor: one mesh, a section for each tile.
    void build()
    {
        using Ogre::Vector3;
        Ogre::ManualObject *const mesh = scene_->createManualObject();
        const int length = static_cast<int>((FAR + ROW) / TILE) + 2 * PERIOD;
        constexpr float ledge = HALF_WIDTH - LEDGE_WIDTH;
        for (std::size_t tile = 0; tile < tiles.size(); tile++) {
            mesh->begin(tiles[tile]->material(), Ogre::RenderOperation::OT_TRIANGLE_LIST);
            Ogre::uint32 corners = 0;
            // `along` is the left edge of the tile as seen from the corridor, `up` its height; with light at bottom and
            // top.
            const auto quad = [&](const Vector3 &at, const Vector3 &along, const Vector3 &up, float v, float low,
                                  float high) {
                const Vector3 points[4] = {at, at + along, at + along + up, at + up};
                const float us[4] = {0, 1, 1, 0}, vs[4] = {v, v, 0, 0}, lights[4] = {low, low, high, high};
                for (int corner = 0; corner < 4; corner++) {
                    mesh->position(points[corner]);
                    mesh->colour(Ogre::ColourValue(lights[corner], lights[corner] * 0.95F, lights[corner] * 0.86F));
                    mesh->textureCoord(us[corner], vs[corner]);
                }
                mesh->quad(corners, corners + 1, corners + 2, corners + 3);
                corners += 4;
            };
            for (int step = -PERIOD; step < length; step++) {
                const float z = -TILE * static_cast<float>(step);
                const int cell = ((step % PERIOD) + PERIOD) % PERIOD;
                const auto is = [&](int row, bool floor) {
                    const int pick = cell * 5 + row * 3 + cell * row;
                    return static_cast<int>(tile) == (floor ? WALLS + pick % FLOORS : pick % WALLS);
                };
                const Vector3 in(0, 0, -TILE), out(0, 0, TILE), up(0, TILE, 0);
                for (int row = 0; row < 2; row++) {
                    const float y = LEDGE + TILE * static_cast<float>(row), low = row == 0 ? 1.0F : 0.75F;
                    if (is(row, false))
                        quad(Vector3(-HALF_WIDTH, y, z), in, up, 1, low, low - 0.25F);
                    if (is(row + 2, false))
                        quad(Vector3(HALF_WIDTH, y, z - TILE), out, up, 1, low, low - 0.25F);
                }
                const Vector3 side(0, LEDGE, 0), shelf(LEDGE_WIDTH, 0, 0);
                if (is(4, false)) {
                    quad(Vector3(-ledge, 0, z), in, side, LEDGE / TILE, 0.7F, 0.9F);
                    quad(Vector3(-HALF_WIDTH, LEDGE, z), shelf, in, 1, 1, 1);
                }
                if (is(5, false)) {
                    quad(Vector3(ledge, 0, z - TILE), out, side, LEDGE / TILE, 0.7F, 0.9F);
                    quad(Vector3(ledge, LEDGE, z), shelf, in, 1, 1, 1);
                }
                for (int column = 0; column < 3; column++) {
                    if (is(column, true))
                        quad(Vector3(-ledge + ledge * 2 / 3 * static_cast<float>(column), 0, z),
                             Vector3(ledge * 2 / 3, 0, 0), in, 1, 1, 1);
                }
            }
            mesh->end();
        }
        corridor_ = scene_->getRootSceneNode()->createChildSceneNode();
        corridor_->attachObject(mesh);
        mesh->setBoundingBox(Ogre::AxisAlignedBox::BOX_INFINITE);
    }

    static constexpr float LEDGE = 0.5F, LEDGE_WIDTH = 1.6F;
    Ogre::RenderWindow *window_ = nullptr;
    Ogre::SceneManager *scene_ = nullptr;
    Ogre::SceneNode *eye_ = nullptr, *corridor_ = nullptr;
};

#endif
