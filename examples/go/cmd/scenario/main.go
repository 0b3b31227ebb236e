// SPDX-License-Identifier: MIT OR Apache-2.0

// What a program does with the library: the scenario of examples/README.md, as c/scenario.c.
package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"image"
	"os"
	"sort"
	"strings"

	"example.org/detailflow"
)

const (
	jobs = 4
	many = 64
)

// good ends the program when a call has failed.
func good(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func must[T any](value T, err error) T {
	good(err)
	return value
}

func hash(data []byte) string {
	h := fnv.New64a()
	h.Write(data)
	return fmt.Sprintf("%016x", h.Sum64())
}

func printPixels(what string, img *image.NRGBA) {
	fmt.Printf("%s %d px %s\n", what, img.Rect.Dx(), hash(img.Pix))
}

// status is the name of what a call ended with.
func status(err error) string {
	var failed *detailflow.Error
	if errors.As(err, &failed) {
		return failed.Status.String()
	}
	good(err)
	return detailflow.StatusOK.String()
}

// 1. What the model is.
func describe(model *detailflow.Model) {
	info := must(model.Info())
	fmt.Printf("model %s: %d px, %d tokens, %d classes\n", info.Name, info.ImageSize, info.TokenCount, info.ClassCount)
	for _, level := range must(model.Levels()) {
		fmt.Printf("level %d px: %d tokens\n", level.Size, level.TokenCount)
	}
}

// 2. An error, as a program shows it.
func provokeAnError(model *detailflow.Model) {
	_, err := model.FindClass("no such class")
	fmt.Printf("error %v\n", err)
}

// 3. One picture step by step; each level is shown when it is complete. Returns its tokens.
func draw(ctx context.Context, model *detailflow.Model, class uint32, seed uint64) []uint32 {
	request := must(detailflow.NewRequest(model))
	defer request.Close()
	good(request.SetClass(class))
	good(request.SetSeed(seed))
	generation := must(detailflow.NewGeneration(request))
	defer generation.Close()
	for shown, left := 0, 1; left > 0; {
		progress := must(generation.Step(ctx))
		if progress.LevelSize > shown {
			printPixels("drawn", must(generation.DecodeLevel(0)))
			shown = progress.LevelSize
		}
		left = progress.StepsLeft
	}
	tokens := must(generation.Tokens(0))
	fmt.Println("tokens", strings.Trim(fmt.Sprint(tokens), "[]"))
	return tokens
}

// 4. A token file in memory, and the picture from it.
func roundTrip(model *detailflow.Model, tokens []uint32, class uint32, seed uint64) {
	data := must(model.EncodeTokens(tokens, class, &seed))
	file := must(detailflow.ReadTokenFile(data))
	fmt.Printf("file %d bytes %s: class %d, seed %d, %d tokens\n", len(data), hash(data), file.Class, file.Seed,
		len(file.Tokens))
	printPixels("decoded", must(model.Decode(file.Tokens, 0)))
}

// 5. Another goroutine cancels what this one draws; the tokens so far are kept.
func cancel(model *detailflow.Model) {
	request := must(detailflow.NewRequest(model))
	good(request.SetImageCount(many))
	generation := must(detailflow.NewGeneration(request))
	defer generation.Close()
	ctx, stop := context.WithCancel(context.Background())
	must(generation.Step(ctx))
	go stop()
	_, err := generation.Finish(ctx)
	kept := "no tokens"
	if must(generation.Progress()).TokenCount > 0 {
		kept = "tokens are kept"
	}
	fmt.Printf("cancelled %s: %s\n", status(err), kept)
}

// 6. Jobs of a worker; its events are taken as they come.
func work(ctx context.Context, model *detailflow.Model) {
	worker := must(detailflow.NewWorker(nil))
	defer worker.Close()
	request := must(detailflow.NewRequest(model))
	defer request.Close()
	for at := uint32(0); at < jobs; at++ {
		good(request.SetClass(at))
		good(request.SetSeed(uint64(at)))
		must(worker.Submit(request, detailflow.SubmitOptions{User: uint64(at), Flags: detailflow.SubmitDecode}))
	}
	var lines []string
	for must(worker.Pending()) > 0 {
		event := must(worker.Wait(ctx))
		good(event.Err)
		// The last event of a job repeats its last level.
		if event.Kind == detailflow.EventLevel {
			img := must(event.DecodeLevel(0))
			lines = append(lines, fmt.Sprintf("job %d: %4d px %s", event.User, img.Rect.Dx(), hash(img.Pix)))
		}
		event.Close()
	}
	// Jobs end in any order.
	sort.Strings(lines)
	for _, line := range lines {
		fmt.Println(line)
	}
}

// 7. The program ends while a worker draws.
func quit(model *detailflow.Model) {
	worker := must(detailflow.NewWorker(nil))
	request := must(detailflow.NewRequest(model))
	good(request.SetImageCount(many))
	must(worker.Submit(request, detailflow.SubmitOptions{}))
	fmt.Printf("quit with %d job going on\n", must(worker.Pending()))
}

func main() {
	ctx := context.Background()
	path := ""
	if len(os.Args) > 1 {
		path = os.Args[1]
	}
	model := must(detailflow.Open(ctx, path, nil))
	describe(model)
	provokeAnError(model)
	potion := must(model.FindClass("potion"))
	tokens := draw(ctx, model, potion, 7)
	roundTrip(model, tokens, potion, 7)
	cancel(model)
	work(ctx, model)
	quit(model)
}
