package debug

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// patience is how long a viewer may take nothing at all before his connection is given up.
// He holds up nobody meanwhile.
const patience = 5 * time.Minute

// message is one event.
type message struct {
	Epoch   string            `json:"epoch"`
	Columns []string          `json:"columns,omitempty"` // of the rows; told once
	First   int64             `json:"first"`             // number of the first row
	Rows    []json.RawMessage `json:"rows"`
	State   json.RawMessage   `json:"state"`
	Tree    json.RawMessage   `json:"tree,omitempty"`   // if it has changed
	Closed  bool              `json:"closed,omitempty"` // the last event: the database is closed
}

// events streams what happens to one viewer, until he leaves or the database is closed.
func (h *handler) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // for proxies that would collect
	if r.Method == http.MethodHead {
		return
	}
	control := http.NewResponseController(w)
	leave := h.sampler.join()
	defer leave()
	v := viewer{epoch: h.sampler.epoch}
	v.resume(r.Header.Get("Last-Event-ID"))
	for {
		n := h.sampler.since(v.row)
		_ = control.SetWriteDeadline(time.Now().Add(patience)) // that of the server would end the stream; who has none cannot set one
		if _, err := w.Write(v.event(n)); err != nil {
			return
		}
		if err := control.Flush(); err != nil || n.closed {
			return
		}
		select {
		case <-n.changed:
		case <-r.Context().Done():
			// Who shows the page to others may end all that he answers when the database is
			// closed. Viewers still hear why.
			if !h.sampler.finish() {
				return
			}
		}
	}
}

// viewer is what one viewer has got.
type viewer struct {
	epoch  string
	row    int64 // number of the last row
	treeID int64
	told   bool // the columns
	buffer bytes.Buffer
}

// resume goes on behind the event that a viewer got last, before his connection broke.
func (v *viewer) resume(id string) {
	epoch, number, _ := strings.Cut(id, ".")
	if row, err := strconv.ParseInt(number, 10, 64); err == nil && epoch == v.epoch && row > 0 {
		v.row = row
	}
}

// event encodes what is new. The result is valid until the next call.
func (v *viewer) event(n news) []byte {
	m := message{Epoch: v.epoch, First: n.first, Rows: n.rows, State: n.state, Closed: n.closed}
	if !v.told {
		m.Columns, v.told = columns, true
	}
	if n.treeID != v.treeID {
		m.Tree, v.treeID = n.tree, n.treeID
	}
	v.row = n.first + int64(len(n.rows)) - 1
	v.buffer.Reset()
	if n.closed {
		v.buffer.WriteString("event: closed\nretry: 30000\n")
	}
	fmt.Fprintf(&v.buffer, "id: %s.%d\ndata: ", v.epoch, v.row)
	v.buffer.Write(encode(m))
	v.buffer.WriteString("\n\n")
	return v.buffer.Bytes()
}
