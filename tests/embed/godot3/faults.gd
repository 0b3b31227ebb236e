# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Faults: each is a value and a message, and none ends the program.
extends SceneTree

const DetailFlow = preload("res://detailflow.gdns")

var failed = 0
var dropped
var reference


func check(what, truth):
	if not truth:
		printerr("failed: ", what)
		failed += 1


func _init():
	var flow = DetailFlow.new()
	check("submit before open", flow.submit("potion", 1, 0.0) == 0 and "open" in flow.get_message())
	check("tick before open", not flow.tick(1.0))
	check("levels before open", flow.get_levels().size() == 0)
	check("a file that is not there", not flow.open("res://none.dflow") and "none.dflow" in flow.get_message())
	check("a file that is no model", not flow.open("res://dungeon.gd") and flow.get_message() != "")
	check("a missing path of the system", not flow.open("/none/at/all") and "NOT_FOUND" in flow.get_message())
	flow.close()
	check("open", flow.open("res://sprites.dflow"))
	check("open twice", not flow.open("res://sprites.dflow") and "close" in flow.get_message())
	check("levels", Array(flow.get_levels()) == [8, 16, 24, 32])
	check("classes", "potion" in Array(flow.get_classes()))
	check("an unknown class", flow.submit("poton", 1, 0.0) == 0 and "potion" in flow.get_message())
	check("an unknown job", not flow.cancel(99) and not flow.set_priority(99, 1.0))
	check("a priority that is no number", flow.submit("potion", 1, NAN) == 0)
	check("a budget that is no number", not flow.tick(NAN))
	flow.connect("level_ready", self, "_on_level_ready", [flow])
	check("submit", flow.submit("potion", 7, 0.0) > 0 and flow.get_pending() == 1)
	# The receiver closes it in the middle of a tick.
	for _tick in range(1000):
		if flow.get_pending() == 1:
			flow.tick(20.0)
	check("closed by a receiver", flow.get_pending() == 0 and "open" in flow.get_message())
	check("close twice", flow.close() == null and flow.submit("potion", 1, 0.0) == 0)
	# The receiver drops the last reference in the middle of a tick.
	dropped = DetailFlow.new()
	reference = weakref(dropped)
	check("open one that is dropped", dropped.open("res://sprites.dflow") and dropped.submit("potion", 7, 0.0) > 0)
	check("connect one that is dropped", dropped.connect("level_ready", self, "_on_level_ready_drop") == OK)
	for _tick in range(1000):
		if dropped != null:
			dropped.tick(20.0)
	check("dropped by a receiver", dropped == null)
	# Ends with a worker that has work.
	check("open again", flow.open("res://sprites.dflow") and flow.submit("potion", 7, 0.0) > 0)
	flow.tick(0.0)
	call_deferred("_end")


func _end():
	check("freed at the end of the frame", reference.get_ref() == null)
	print("faults: ", "none" if failed == 0 else str(failed))
	quit(0 if failed == 0 else 1)


func _on_level_ready(_job, size, image, flow):
	check("picture", image.get_width() == size)
	flow.close()


func _on_level_ready_drop(_job, _size, _image):
	dropped = null
