package main

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/spf13/cobra"

	"lsmdb/bench/workload"
)

// childName is the hidden command that a child process runs.
const childName = "act"

func childCommand() *cobra.Command {
	return &cobra.Command{
		Use: childName, Hidden: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return child(c.InOrStdin(), c.OutOrStdout()) },
	}
}

// child does one act: the request comes as JSON on in, events go out as JSON lines.
// It returns without closing the database after an act that crashes; the process
// then ends at once.
func child(in io.Reader, out io.Writer) error {
	var q workload.Request
	if err := json.NewDecoder(in).Decode(&q); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	var mu sync.Mutex // steps and the progress ticker both tell
	encoder := json.NewEncoder(out)
	return workload.RunAct(q, func(e workload.Event) {
		mu.Lock()
		defer mu.Unlock()
		_ = encoder.Encode(e) // a parent that is gone needs no events
	})
}
