// SPDX-License-Identifier: MIT OR Apache-2.0

package detailflow_test

import (
	"bytes"
	"context"
	"errors"
	"image"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	df "example.org/detailflow"
)

var ctx = context.Background()

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func open(t *testing.T) *df.Model {
	t.Helper()
	return must(df.Open(ctx, "", &df.ModelOptions{Threads: 1}))
}

func drawn(model *df.Model, images uint32) *df.Generation {
	request := must(df.NewRequest(model))
	for _, err := range []error{request.SetImageCount(images), request.SetClass(3), request.SetSeed(7)} {
		must(0, err)
	}
	return must(df.NewGeneration(request))
}

func expect(t *testing.T, err error, status df.Status, text string) {
	t.Helper()
	if !errors.Is(err, status) {
		t.Fatalf("%v instead of %v", err, status)
	}
	if !strings.Contains(err.Error(), text) {
		t.Fatalf("%q is not in %q", text, err)
	}
}

func TestErrors_have_the_message_of_their_call_on_any_thread(t *testing.T) {
	model := open(t)
	var all sync.WaitGroup
	for at := 0; at < 8; at++ {
		name := strings.Repeat("x", at+1)
		all.Add(1)
		go func() {
			defer all.Done()
			for round := 0; round < 500; round++ {
				_, err := model.FindClass(name)
				if !errors.Is(err, df.StatusInvalidArgument) || !strings.Contains(err.Error(), `"`+name+`"`) {
					t.Errorf("%v for %q", err, name)
					return
				}
			}
		}()
	}
	all.Wait()
	_, err := model.FindClass("potoin")
	expect(t, err, df.StatusInvalidArgument, "did you mean potion")
	_, err = df.Open(ctx, "/no/such/bundle", nil)
	expect(t, err, df.StatusNotFound, "/no/such/bundle")
	_, err = df.Open(ctx, "", &df.ModelOptions{Device: "abacus"})
	expect(t, err, df.StatusNoDevice, "abacus")
	_, err = model.FindClass("a\x00b")
	expect(t, err, df.StatusInvalidArgument, "zero byte")
	_, err = df.ReadTokenFile(nil)
	expect(t, err, df.StatusInvalidArgument, "")
}

func TestNumbers_that_c_has_not_are_refused_and_named(t *testing.T) {
	model := open(t)
	generation := drawn(model, 1)
	request := must(df.NewRequest(model))
	worker := must(df.NewWorker(nil))
	request.SetLevelSize(8)
	job := must(worker.Submit(request, df.SubmitOptions{Flags: df.SubmitHold}))
	event := must(worker.Wait(ctx))
	pixels := df.FromNRGBA(image.NewNRGBA(image.Rect(0, 0, 8, 8)))
	tokens := must(event.Tokens(0))
	// Cut to 32 bits they are 0 and 8.
	for _, wrong := range []int{-1, 1 << 32, 1<<32 + 8} {
		for name, call := range map[string]func() error{
			"level size: AdvanceToLevel": func() error { _, err := generation.AdvanceToLevel(ctx, wrong); return err },
			"level size: SetLevelSize":   func() error { return generation.SetLevelSize(wrong) },
			"level size: request":        func() error { return request.SetLevelSize(wrong) },
			"level size: SetPrefix":      func() error { return request.SetPrefix(tokens, wrong) },
			"level size: Continue":       func() error { return worker.Continue(job, wrong) },
			"level size: Decode":         func() error { _, err := model.Decode(tokens, wrong); return err },
			"level size: DecodeInto":     func() error { return model.DecodeInto(tokens, wrong, pixels) },
			"token count: PrefixSize":    func() error { _, err := model.PrefixSize(wrong); return err },
			"image: Tokens":              func() error { _, err := generation.Tokens(wrong); return err },
			"image: LogProbabilities":    func() error { _, err := generation.LogProbabilities(wrong); return err },
			"image: ImageSource":         func() error { _, _, err := generation.ImageSource(wrong); return err },
			"image: DecodeInto":          func() error { return generation.DecodeInto(wrong, pixels) },
			"image: DecodeLevelInto":     func() error { return generation.DecodeLevelInto(wrong, pixels) },
			"image: Save":                func() error { return generation.Save(wrong, "/no/such/folder/sprite.png") },
			"image: event":               func() error { _, err := event.Tokens(wrong); return err },
			"image: event DecodeLevel":   func() error { return event.DecodeLevelInto(wrong, pixels) },
		} {
			err := call()
			argument, _, _ := strings.Cut(name, ":")
			if !errors.Is(err, df.StatusInvalidArgument) || !strings.Contains(err.Error(), argument+": ") {
				t.Errorf("%s with %d: %v", name, wrong, err)
			}
		}
	}
	if must(generation.Progress()).StepsDone != 0 {
		t.Error("it was stepped")
	}
	for _, options := range []df.ModelOptions{
		{Device: "cpu\x00x"}, {DeviceOptions: map[string]string{"a\x00b": "1"}}, {DeviceOptions: map[string]string{"a": "1\x00"}},
	} {
		_, err := df.Open(ctx, "", &options)
		expect(t, err, df.StatusInvalidArgument, "zero byte")
	}
}

func TestClosed_is_an_error_everywhere(t *testing.T) {
	model := open(t)
	request := must(df.NewRequest(model))
	generation := must(df.NewGeneration(request))
	worker := must(df.NewWorker(nil))
	// In the wrong order, and twice: what was made from the model goes on.
	for _, closer := range []io.Closer{model, request, model, request} {
		must(0, closer.Close())
	}
	if progress := must(generation.Finish(ctx)); progress.StepsLeft != 0 {
		t.Fatal(progress)
	}
	must(0, generation.Close())
	must(0, worker.Close())
	must(0, worker.Close())
	for _, err := range []error{
		func() error { _, err := model.Info(); return err }(),
		func() error { _, err := df.NewRequest(model); return err }(),
		func() error { _, err := df.NewGeneration(request); return err }(),
		func() error { _, err := generation.Step(ctx); return err }(),
		func() error { _, err := generation.Decode(0); return err }(),
		func() error { _, err := worker.Poll(); return err }(),
		func() error { _, err := worker.Wait(ctx); return err }(),
		func() error { _, err := worker.Submit(request, df.SubmitOptions{}); return err }(),
		request.SetSeed(1), generation.Cancel(), worker.CancelAll(),
	} {
		expect(t, err, df.StatusInvalidArgument, "closed")
	}
	_, err := (*df.Model)(nil).Info()
	expect(t, err, df.StatusInvalidArgument, "no model")
	_, err = df.NewRequest(nil)
	expect(t, err, df.StatusInvalidArgument, "no model")
}

func TestClose_while_others_use_it_is_no_crash(t *testing.T) {
	for round := 0; round < 5; round++ {
		model := open(t)
		generation := drawn(model, 16)
		must(generation.Step(ctx))
		worker := must(df.NewWorker(nil))
		var all sync.WaitGroup
		for _, use := range []func() error{
			func() error { _, err := generation.Step(ctx); return err },
			func() error { _, err := generation.Tokens(0); return err },
			func() error { _, err := generation.Decode(0); return err },
			func() error { _, err := model.FindClass("potion"); return err },
			func() error { _, err := worker.Wait(ctx); return err },
		} {
			use := use
			all.Add(1)
			go func() {
				defer all.Done()
				var err error
				for err == nil {
					err = use()
				}
				if !errors.Is(err, df.StatusCancelled) && !strings.Contains(err.Error(), "closed") {
					t.Error(err)
				}
			}()
		}
		runtime.Gosched()
		for _, closer := range []io.Closer{generation, worker, model} {
			must(0, closer.Close())
		}
		all.Wait()
	}
}

func TestContext_cancels_and_keeps_the_tokens(t *testing.T) {
	model := open(t)
	generation := drawn(model, 64)
	must(generation.Step(ctx))
	ending, stop := context.WithCancel(ctx)
	go stop()
	_, err := generation.Finish(ending)
	expect(t, err, df.StatusCancelled, "")
	if !errors.Is(err, context.Canceled) {
		t.Fatal("no cause")
	}
	if must(generation.Progress()).TokenCount == 0 {
		t.Fatal("no tokens")
	}
	_, err = df.Open(ending, "", nil)
	expect(t, err, df.StatusCancelled, "")
	// One that ends afterwards does not.
	other := drawn(model, 1)
	ending, stop = context.WithCancel(ctx)
	must(other.Step(ending))
	stop()
	must(other.Finish(ctx))
}

func TestPixels_are_decoded_into_memory_of_the_caller(t *testing.T) {
	generation := drawn(open(t), 1)
	must(generation.Finish(ctx))
	expected := must(generation.Decode(0))
	atlas := image.NewNRGBA(image.Rect(0, 0, 100, 80))
	part := atlas.SubImage(image.Rect(10, 20, 42, 52)).(*image.NRGBA)
	must(0, generation.DecodeInto(0, df.FromNRGBA(part)))
	for y := 0; y < 80; y++ {
		for x := 0; x < 100; x++ {
			if inside := image.Pt(x, y).In(part.Rect); inside && atlas.NRGBAAt(x, y) != expected.NRGBAAt(x-10, y-20) {
				t.Fatal("not decoded at", x, y)
			} else if !inside && atlas.NRGBAAt(x, y).A != 0 {
				t.Fatal("written outside at", x, y)
			}
		}
	}
	small := df.Pixels{Format: df.RGBA8, Width: 32, Height: 32, Pix: make([]byte, 5)}
	expect(t, generation.DecodeInto(0, small), df.StatusInvalidArgument, "")
	small.Pix = nil
	expect(t, generation.DecodeInto(0, small), df.StatusInvalidArgument, "no memory")
	small.Width = -1
	small.Pix = make([]byte, 5)
	expect(t, generation.DecodeInto(0, small), df.StatusInvalidArgument, "-1")
	_, err := drawn(open(t), 1).DecodeLevel(0)
	expect(t, err, df.StatusWrongState, "")
}

func TestPictures_are_encoded_from_files_bytes_and_pixels(t *testing.T) {
	model := open(t)
	generation := drawn(model, 1)
	must(generation.Finish(ctx))
	path := filepath.Join(t.TempDir(), "sprite.png")
	must(0, generation.Save(0, path))
	tokens := must(model.Encode(df.FromNRGBA(must(generation.Decode(0)))))
	if !reflect.DeepEqual(must(model.EncodeFile(ctx, path)), tokens) ||
		!reflect.DeepEqual(must(model.EncodeData(must(os.ReadFile(path)))), tokens) {
		t.Fatal("other tokens")
	}
	must(0, df.SavePixels(df.FromNRGBA(must(generation.Decode(0))), path))
	if len(must(model.Score(3, tokens))) != 32 {
		t.Fatal("other number of values")
	}
	_, err := model.EncodeData([]byte("no picture"))
	expect(t, err, df.StatusBadFormat, "")
	if report := must(model.Report()); !strings.Contains(report, "cpu") {
		t.Fatal(report)
	}
}

func TestToken_file_round_trip(t *testing.T) {
	model := open(t)
	generation := drawn(model, 1)
	must(generation.Finish(ctx))
	tokens, seed := must(generation.Tokens(0)), uint64(1<<64-1)
	data := must(model.EncodeTokens(tokens, df.NoClass, &seed))
	file := must(df.ReadTokenFile(data))
	if file.Class != df.NoClass || file.Seed != seed || !file.HasSeed || !reflect.DeepEqual(file.Tokens, tokens) {
		t.Fatal(file)
	}
	must(0, model.CheckTokens(data))
	if cut := must(df.ReadTokenFile(data[:70])); len(cut.Tokens) >= 32 || cut.Damage != 1 {
		t.Fatal(cut)
	}
	_, err := df.ReadTokenFile([]byte("nothing"))
	expect(t, err, df.StatusBadFormat, "")
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) {
	if f.err == nil {
		panic("the archive is gone")
	}
	return 0, f.err
}

func TestModels_open_from_memory_and_readers(t *testing.T) {
	file := must(os.ReadFile(os.Getenv("DETAILFLOW_TEST_FILE")))
	tokens := must(must(generationOf(open(t))).Tokens(0))
	expected := must(open(t).Decode(tokens, 0))
	memory := must(df.OpenMemory(ctx, file, &df.ModelOptions{Threads: 1}))
	reader := must(df.OpenReader(ctx, bytes.NewReader(file), int64(len(file)), &df.ModelOptions{Threads: 1}))
	for at := range file {
		file[at] = 0
	}
	runtime.GC()
	for _, model := range []*df.Model{memory, reader} {
		if !reflect.DeepEqual(must(model.Decode(tokens, 0)), expected) {
			t.Fatal("other pixels")
		}
	}
	bad := errors.New("the archive is damaged")
	_, err := df.OpenReader(ctx, failing{bad}, 1000, nil)
	expect(t, err, df.StatusIO, "")
	if !errors.Is(err, bad) {
		t.Fatal("no cause")
	}
	_, err = df.OpenReader(ctx, failing{}, 1000, nil)
	expect(t, err, df.StatusIO, "")
	if cause := errors.Unwrap(err); cause == nil || !strings.Contains(cause.Error(), "the archive is gone") {
		t.Fatal(cause)
	}
	_, err = df.OpenMemory(ctx, []byte("no bundle"), nil)
	expect(t, err, df.StatusBadBundle, "")
}

func generationOf(model *df.Model) (*df.Generation, error) {
	generation := drawn(model, 1)
	_, err := generation.Finish(ctx)
	return generation, err
}

func TestWorker_events_are_polled(t *testing.T) {
	model := open(t)
	worker := must(df.NewWorker(&df.WorkerOptions{Threads: 1}))
	request := must(df.NewRequest(model))
	job := must(worker.Submit(request, df.SubmitOptions{User: 5, Flags: df.SubmitHold, Priority: 1}))
	for _, err := range []error{worker.Pause(job), worker.Resume(job), worker.SetPriority(job, 2), worker.Cancel(job)} {
		must(0, err)
	}
	var last *df.Event
	for must(worker.Pending()) > 0 {
		last = must(worker.Wait(ctx))
	}
	if last.User != 5 || last.Job != job || !last.Last() {
		t.Fatal(last)
	}
	if last.Kind == df.EventCancelled {
		expect(t, last.Err, df.StatusCancelled, "cancelled")
	}
	ending, stop := context.WithTimeout(ctx, time.Millisecond)
	defer stop()
	if _, err := worker.Wait(ending); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	expect(t, worker.Cancel(99), df.StatusInvalidArgument, "99")
	generation := drawn(model, 1)
	must(worker.SubmitGeneration(generation, 0, df.SubmitLastOnly))
	_, err := generation.Step(ctx)
	expect(t, err, df.StatusInvalidArgument, "closed")
	event := must(worker.Wait(ctx))
	must(0, worker.Close())
	// Events belong to whoever took them.
	if event.Kind != df.EventDone || len(must(event.Tokens(0))) != 32 || must(event.DecodeLevel(0)).Rect.Dx() != 32 {
		t.Fatal(event)
	}
}

func TestWorker_without_threads_is_ticked(t *testing.T) {
	worker := must(df.NewWorker(&df.WorkerOptions{Ticked: true}))
	must(worker.Submit(must(df.NewRequest(open(t))), df.SubmitOptions{}))
	_, err := worker.Wait(ctx)
	expect(t, err, df.StatusWrongState, "")
	for must(worker.Tick(4 * time.Millisecond)).More {
	}
	var last *df.Event
	for event := must(worker.Poll()); event != nil; event = must(worker.Poll()) {
		last = event
	}
	if last.Kind != df.EventDone {
		t.Fatal(last)
	}
}

func TestFork_and_retain_go_on_from_the_same_tokens(t *testing.T) {
	generation := drawn(open(t), 3)
	must(generation.AdvanceToLevel(ctx, 8))
	fork := must(generation.Fork(1, 2, 3))
	if !reflect.DeepEqual(must(fork.Tokens(1)), must(generation.Tokens(1))) {
		t.Fatal("other tokens")
	}
	must(0, fork.RetainImages(2))
	if must(fork.Advance(ctx, time.Second)).ImageCount != 1 {
		t.Fatal("images are left")
	}
	must(0, generation.Close())
	must(fork.Finish(ctx))
	if class, seed, err := fork.ImageSource(0); class != 3 || seed != 3 || err != nil {
		t.Fatal(class, seed, err)
	}
}

func collect() {
	for round := 0; round < 3; round++ {
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
}

func TestModel_of_a_job_is_not_collected(t *testing.T) {
	worker := must(df.NewWorker(nil))
	func() {
		request := must(df.NewRequest(open(t)))
		must(0, request.SetImageCount(16))
		must(worker.Submit(request, df.SubmitOptions{Flags: df.SubmitLastOnly}))
	}()
	collect()
	if event := must(worker.Wait(ctx)); event.Kind != df.EventDone {
		t.Fatal(event.Err)
	}
}

func TestEverything_is_collected_under_load(t *testing.T) {
	model := open(t)
	var all sync.WaitGroup
	for at := 0; at < 4; at++ {
		all.Add(1)
		go func() {
			defer all.Done()
			for round := 0; round < 8; round++ {
				generation := drawn(model, 2)
				must(generation.AdvanceToLevel(ctx, 8))
				must(must(df.NewWorker(nil)).SubmitGeneration(generation, 0, 0))
				runtime.GC()
			}
		}()
	}
	all.Wait()
	collect()
	must(generationOf(model))
}
