// SPDX-License-Identifier: MIT OR Apache-2.0

package detailflow_test

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	df "example.org/detailflow"
)

// The ways in which a process ends while a worker and a goroutine draw; the test runs itself again for each.
var endings = map[string]struct {
	end    func()
	status int
}{
	"return": {func() {}, 0},
	"exit":   {func() { os.Exit(3) }, 3},
	"panic":  {func() { panic("on purpose") }, 2},
}

func TestMain(m *testing.M) {
	name := os.Getenv("DETAILFLOW_TEST_ENDING")
	if name == "" {
		os.Exit(m.Run())
	}
	model := must(df.Open(ctx, "", nil))
	generation := drawn(model, 256)
	must(generation.Step(ctx))
	go generation.Finish(ctx)
	worker := must(df.NewWorker(nil))
	request := must(df.NewRequest(model))
	must(0, request.SetImageCount(256))
	must(worker.Submit(request, df.SubmitOptions{Flags: df.SubmitDecode}))
	go worker.Wait(ctx)
	endings[name].end()
}

func TestProcess_ends_while_it_draws(t *testing.T) {
	for name, ending := range endings {
		limit, stop := context.WithTimeout(ctx, 2*time.Minute)
		defer stop()
		command := exec.CommandContext(limit, os.Args[0])
		command.Env = append(os.Environ(), "DETAILFLOW_TEST_ENDING="+name)
		output, _ := command.CombinedOutput()
		if status := command.ProcessState.ExitCode(); status != ending.status {
			t.Errorf("%s: ends with %d instead of %d: %s", name, status, ending.status, output)
		}
		if ending.status != 2 && len(output) > 0 {
			t.Errorf("%s: prints %s", name, output)
		}
	}
}
