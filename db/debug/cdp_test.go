package debug_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A browser without a window, driven through its debugging pipe: JSON messages with a NUL
// after each, to its descriptor 3 and from its descriptor 4.

// browser is a running Chromium.
type browser struct {
	t       *testing.T
	to      *os.File
	replies chan reply // from the reader of its messages, which closes it when it ends
	session string
	last    int

	mu     sync.Mutex // the reader adds to it, the test looks at it
	events []event
}

// reply answers a command, event tells of something.
type reply struct {
	ID     int             `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

type event struct {
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
}

// browserTime is how long the browser may take for anything.
const browserTime = 60 * time.Second

// startBrowser starts it, or skips the test where there is none.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	var program string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			program = found
			break
		}
	}
	if program == "" {
		t.Skip("no Chromium is installed (on Debian: apt-get install chromium)")
	}
	commands, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, messages, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	args := []string{"--headless=new", "--remote-debugging-pipe", "--user-data-dir=" + home, "--no-first-run", "--no-default-browser-check",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-gpu",
		"--disable-dev-shm-usage", "--hide-scrollbars", "--force-color-profile=srgb", "--disable-breakpad"}
	if os.Geteuid() == 0 {
		args = append(args, "--no-sandbox") // it refuses to be root with one
	}
	process := exec.Command(program, append(args, "about:blank")...)
	process.ExtraFiles = []*os.File{commands, messages} // 3 and 4
	process.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+filepath.Join(home, "config"), "XDG_CACHE_HOME="+filepath.Join(home, "cache"))
	var complaints bytes.Buffer
	process.Stderr = &complaints
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	commands.Close()
	messages.Close()
	b := &browser{t: t, to: to, replies: make(chan reply, 100)}
	go b.read(from)
	t.Cleanup(func() {
		b.session = ""
		b.to.Close() // that ends it, more gently than a kill
		done := make(chan error, 1)
		go func() { done <- process.Wait() }()
		select {
		case <-done:
		case <-time.After(browserTime):
			process.Process.Kill()
			<-done
		}
		from.Close()
		if t.Failed() {
			t.Logf("the browser said: %.2000s", complaints.String())
		}
	})
	return b
}

// read sorts what the browser sends.
func (b *browser) read(from *os.File) {
	defer close(b.replies)
	r := bufio.NewReader(from)
	for {
		message, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		message = message[:len(message)-1]
		var answer reply
		if json.Unmarshal(message, &answer) == nil && answer.ID != 0 {
			b.replies <- answer
			continue
		}
		var e event
		if json.Unmarshal(message, &e) == nil {
			b.mu.Lock()
			b.events = append(b.events, e)
			b.mu.Unlock()
		}
	}
}

// call sends a command and waits for its result.
func (b *browser) call(method string, params map[string]any, result any) error {
	b.last++
	command := map[string]any{"id": b.last, "method": method, "params": params}
	if params == nil {
		command["params"] = map[string]any{}
	}
	if b.session != "" {
		command["sessionId"] = b.session
	}
	encoded, err := json.Marshal(command)
	if err != nil {
		return err
	}
	if _, err := b.to.Write(append(encoded, 0)); err != nil {
		return err
	}
	late := time.After(browserTime)
	for {
		select {
		case answer, open := <-b.replies:
			switch {
			case !open:
				return errors.New("the browser has ended")
			case answer.ID != b.last:
				continue
			case answer.Error != nil:
				return fmt.Errorf("%s: %s", method, answer.Error.Message)
			case result != nil:
				return json.Unmarshal(answer.Result, result)
			}
			return nil
		case <-late:
			return fmt.Errorf("%s: no answer", method)
		}
	}
}

func (b *browser) must(method string, params map[string]any, result any) {
	b.t.Helper()
	if err := b.call(method, params, result); err != nil {
		b.t.Fatal(err)
	}
}

// screen is how large a window is, and what its user prefers.
type screen struct {
	name          string
	width, height int
	mobile        bool
	scheme        string
}

// open opens a page in a new tab.
func (b *browser) open(url string, s screen) {
	b.t.Helper()
	b.session = ""
	var target struct {
		TargetID string `json:"targetId"`
	}
	b.must("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct {
		SessionID string `json:"sessionId"`
	}
	b.must("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.must(domain+".enable", nil, nil)
	}
	b.must("Emulation.setDeviceMetricsOverride", map[string]any{"width": s.width, "height": s.height, "deviceScaleFactor": 1, "mobile": s.mobile}, nil)
	b.must("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": s.scheme}}}, nil)
	b.must("Page.navigate", map[string]any{"url": url}, nil)
}

// closeTab leaves the page.
func (b *browser) closeTab() {
	b.t.Helper()
	b.must("Page.close", nil, nil)
	b.session = ""
}

// evaluate returns what an expression of the page is.
func (b *browser) evaluate(expression string, result any) {
	b.t.Helper()
	var answer struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception *struct {
			Text      string `json:"text"`
			Exception struct {
				Description string `json:"description"`
			} `json:"exception"`
		} `json:"exceptionDetails"`
	}
	b.must("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &answer)
	if e := answer.Exception; e != nil {
		b.t.Fatalf("%s: %s %s", expression, e.Text, e.Exception.Description)
	}
	if result == nil {
		return
	}
	if err := json.Unmarshal(answer.Result.Value, result); err != nil {
		b.t.Fatalf("%s: %s: %v", expression, answer.Result.Value, err)
	}
}

// wait waits until a condition holds in the page.
func (b *browser) wait(condition string) {
	b.t.Helper()
	var holds bool
	b.evaluate(`new Promise((done) => {
		const end = Date.now() + 30000;
		const holds = () => { try { return (`+condition+`); } catch { return false; } };
		const look = () => holds() ? done(true) : Date.now() > end ? done(false) : setTimeout(look, 20);
		look();
	})`, &holds)
	if !holds {
		var text string
		b.evaluate("document.body.innerText", &text)
		b.t.Fatalf("never true: %s\n%.3000s", condition, text)
	}
}

// keys are those of a keyboard that are not text.
var keys = map[string]int{"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}

// press presses a key.
func (b *browser) press(key string) {
	b.t.Helper()
	down := map[string]any{"type": "rawKeyDown", "key": key, "code": key, "windowsVirtualKeyCode": keys[key]}
	if key == "Enter" {
		down["type"], down["text"] = "keyDown", "\r"
	}
	b.must("Input.dispatchKeyEvent", down, nil)
	b.must("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": keys[key]}, nil)
}

// write types a text.
func (b *browser) write(text string) {
	b.t.Helper()
	b.must("Input.insertText", map[string]any{"text": text}, nil)
}

// screenshot saves what is to be seen, all of the page, as a PNG.
func (b *browser) screenshot(path string, s screen) {
	b.t.Helper()
	var height int
	b.evaluate("document.documentElement.scrollHeight", &height)
	var shot struct {
		Data string `json:"data"`
	}
	b.must("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true,
		"clip": map[string]any{"x": 0, "y": 0, "width": s.width, "height": height, "scale": 1}}, &shot)
	content, err := base64.StdEncoding.DecodeString(shot.Data)
	if err == nil {
		err = os.WriteFile(path, content, 0o600)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// complaints are errors of the page, and requests to anywhere but the prefix of an address.
func (b *browser) complaints(prefix string) (list []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		var p struct {
			Type  string `json:"type"`
			Entry struct {
				Level string `json:"level"`
				Text  string `json:"text"`
				URL   string `json:"url"`
			} `json:"entry"`
			Request struct {
				URL string `json:"url"`
			} `json:"request"`
		}
		if err := json.Unmarshal(e.Params, &p); err != nil {
			continue
		}
		switch e.Method {
		case "Runtime.exceptionThrown":
			list = append(list, string(e.Params))
		case "Runtime.consoleAPICalled":
			if p.Type == "error" || p.Type == "warning" || p.Type == "assert" {
				list = append(list, string(e.Params))
			}
		case "Log.entryAdded":
			if p.Entry.Level == "error" || p.Entry.Level == "warning" {
				list = append(list, p.Entry.Text+" "+p.Entry.URL)
			}
		case "Network.requestWillBeSent":
			if !strings.HasPrefix(p.Request.URL, prefix) {
				list = append(list, "asked for "+p.Request.URL)
			}
		}
	}
	return list
}

// forget forgets what has happened so far.
func (b *browser) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = nil
}
