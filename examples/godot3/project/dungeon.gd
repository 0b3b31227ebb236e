# SPDX-License-Identifier: MIT OR Apache-2.0
#
# A dungeon whose tiles, creatures and things are generated while it is shown: coarse pictures of all first, then finer
# ones, within a few milliseconds of each frame; what is nearest to the hero comes first.
#
# Arguments after the project, each as NAME=VALUE: screenshot=FOLDER writes what it looks like when all is drawn;
# measure=SECONDS compares frame times without and with generation, pairs=N alternates N times; model=PATH.
extends Node2D

const DetailFlow = preload("res://detailflow.gdns")

const CELL = 64
const MILLISECONDS = 4.0
const FRAME = 1000.0 / 60.0
# Walls, two kinds of floor, water; creatures and things by the letter.
const MAP = [
	"################",
	"#.a.s|.p.r.,,u,#",
	"#.gg.|..,,~~~,h#",
	"#.s.t|.t,~~~~,,#",
	"#.....o.,~~~n,,#",
	"#||.||.@.,,,,dd#",
	"#b.b.|.m.w,h,,.#",
	"#wwao|.mp..,,GG#",
	"################",
]
const TILES = {
	"#": ["wall", [35, 34]], "|": ["wall", [27, 27]], ".": ["floor", [9, 9]], ",": ["floor", [29, 29]],
	"~": ["water", [4, 4]]
}
const ITEMS = {
	"@": "adventurer", "a": "amulet", "p": "potion", "u": "undead", "g": "golem", "s": "structure", "t": "treasure",
	"n": "animal", "d": "dragon", "b": "book", "r": "ring", "h": "humanoid", "w": "weapon", "o": "spell", "m": "plant",
	"G": "demon"
}

# What is drawn: its node, and which picture it shows.
class Place:
	var sprite: Sprite
	var texture = ImageTexture.new()
	var class_title: String
	var picture_seed: int
	var item: bool
	var job = 0
	var size = 0

var arguments = {}
var flow
var places = []
var jobs = {}
var plain
var generates = true
var working = false
var frames = 0
var begun = 0
# Milliseconds of frames without and with generation, and of ticks.
var times = {false: [], true: []}
var ticks = []


func _ready():
	for argument in OS.get_cmdline_args():
		var parts = argument.split("=", true, 1)
		if parts.size() == 2:
			arguments[parts[0]] = parts[1]
	flow = DetailFlow.new()
	if not flow.open(arguments.get("model", "res://sprites.dflow")):
		printerr(flow.get_message())
		get_tree().quit(1)
		return
	flow.connect("level_ready", self, "_on_level_ready")
	flow.connect("job_ended", self, "_on_job_ended")
	plain = disc()
	for y in range(MAP.size()):
		for x in range(MAP[y].length()):
			build(x, y, MAP[y][x])
	VisualServer.connect("frame_post_draw", self, "_on_frame_drawn")
	restart(not arguments.has("measure"))


# A cell: a tile, and what stands on it.
func build(x, y, letter):
	var item = ITEMS.has(letter)
	var tile = TILES["," if item and MAP[y][x - 1] in [",", "~"] else "." if item else letter]
	add(x, y, tile[0], tile[1][(x + y) % 2], false)
	if item:
		add(x, y, ITEMS[letter], 7 + x + 100 * y, true)


func add(x, y, class_title, picture_seed, item):
	var place = Place.new()
	place.class_title = class_title
	place.picture_seed = picture_seed
	place.item = item
	place.sprite = Sprite.new()
	place.sprite.texture = place.texture
	place.sprite.centered = false
	place.sprite.position = Vector2(x, y) * CELL
	place.sprite.z_index = 1 if item else 0
	add_child(place.sprite)
	places.append(place)


# Begins again, with new pictures or with plain ones.
func restart(with_generation):
	generates = with_generation
	working = generates
	frames = 0
	for place in places:
		if place.job != 0:
			flow.cancel(place.job)
	jobs.clear()
	var hero = Vector2(7, 5) * CELL
	for place in places:
		place.size = 0
		place.sprite.visible = not generates
		if generates:
			var priority = -place.sprite.position.distance_to(hero) + (1000 if place.item else 0)
			place.job = flow.submit(place.class_title, place.picture_seed, priority)
			if place.job == 0:
				printerr(flow.get_message())
			jobs[place.job] = place
		else:
			show_image(place, plain)


func show_image(place, image):
	# Without flags: sharp texels.
	place.texture.create_from_image(image, 0)
	place.sprite.scale = Vector2(1, 1) * CELL / image.get_width()


# A picture is ready at a level: it replaces the coarser one.
func _on_level_ready(job, size, image):
	if jobs.has(job):
		var place = jobs[job]
		place.size = size
		place.sprite.visible = true
		show_image(place, image)


func _on_job_ended(job, message):
	if message != "" and jobs.has(job):
		printerr(message)
	jobs.erase(job)


func _process(_delta):
	begun = OS.get_ticks_usec()
	if working:
		# For a screenshot, as fast as it goes.
		working = flow.tick(500.0 if arguments.has("screenshot") else MILLISECONDS)
		ticks.append((OS.get_ticks_usec() - begun) / 1000.0)


func _on_frame_drawn():
	# Before the first _process there is nothing to measure.
	if begun == 0:
		return
	frames += 1
	if arguments.has("screenshot"):
		if not working:
			VisualServer.disconnect("frame_post_draw", self, "_on_frame_drawn")
			save(arguments["screenshot"])
	elif arguments.has("measure"):
		times[generates].append((OS.get_ticks_usec() - begun) / 1000.0)
		measure()


# After each flight the other kind follows.
func measure():
	var pairs = int(arguments.get("pairs", "1"))
	var wanted = int(float(arguments["measure"]) * 60 / pairs)
	if frames < wanted:
		# Small as this dungeon is, it is drawn again and again.
		if generates and not working:
			var so_far = frames
			restart(true)
			frames = so_far
		return
	if generates and times[true].size() >= wanted * pairs:
		VisualServer.disconnect("frame_post_draw", self, "_on_frame_drawn")
		print_times("frames without", times[false])
		print_times("frames with generation", times[true])
		print_times("  ticks", ticks)
		quit(0)
		return
	restart(not generates)


func print_times(title, values):
	values.sort()
	var missed = 0
	for value in values:
		missed += 1 if value > FRAME else 0
	var last = values.size() - 1
	print("%-24s %6d   p50 %6.2f ms   p99 %6.2f ms   worst %6.2f ms   over 1/60 s %5.2f %%" % [
			title, values.size(), values[last * 50 / 100], values[last * 99 / 100], values[last],
			100.0 * missed / values.size()])


# Writes the window with and without sprites, and which sprites are where.
func save(folder):
	capture(folder + "/screenshot.png")
	var list = []
	for place in places:
		var at = place.sprite.position
		list.append({
			"class": place.class_title, "seed": place.picture_seed, "level": place.size, "x": at.x, "y": at.y,
			"side": CELL, "depth": 1 if place.item else 2, "light": 1.0
		})
		place.sprite.visible = false
	var file = File.new()
	file.open(folder + "/sprites.json", File.WRITE)
	file.store_string(to_json(list))
	file.close()
	yield(get_tree(), "idle_frame")
	yield(VisualServer, "frame_post_draw")
	capture(folder + "/background.png")
	quit(0)


func capture(path):
	var image = get_viewport().get_texture().get_data()
	image.flip_y()
	image.convert(Image.FORMAT_RGB8)
	image.save_png(path)


# Frees the worker before the engine ends.
func quit(status):
	working = false
	flow.close()
	get_tree().quit(status)


func disc():
	var image = Image.new()
	image.create(32, 32, false, Image.FORMAT_RGBA8)
	image.lock()
	for y in range(32):
		for x in range(32):
			if Vector2(x - 15.5, y - 15.5).length() < 16:
				image.set_pixel(x, y, Color(0.47, 0.51, 0.59))
	image.unlock()
	return image
