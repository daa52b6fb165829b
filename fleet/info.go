package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// snapshot is what INFO said at one moment.
type snapshot struct {
	at    time.Time
	size  float64 // of the reply, which counts as output after it
	text  map[string]string
	calls map[string]float64 // of each command, those in scripts and transactions too
}

// info asks Redis for all that it counts.
func (r *rig) info(ctx context.Context) (snapshot, error) {
	reply, err := r.do(ctx, "INFO", "everything").ToString()
	if err != nil {
		return snapshot{}, err
	}
	s := snapshot{at: time.Now(), size: verbatim(reply), text: make(map[string]string), calls: make(map[string]float64)}
	for line := range strings.Lines(reply) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			continue
		}
		s.text[name] = value
		if command, ok := strings.CutPrefix(name, "cmdstat_"); ok {
			calls, _, _ := strings.Cut(strings.TrimPrefix(value, "calls="), ",")
			if s.calls[command], err = strconv.ParseFloat(calls, 64); err != nil {
				return snapshot{}, fmt.Errorf("INFO %s: %w", name, err)
			}
		}
	}
	return s, nil
}

// verbatim is the size of a text as RESP3 sends it: =<length>\r\ntxt:<text>\r\n.
func verbatim(text string) float64 {
	n := len(text) + len("txt:")
	return float64(len("=") + len(strconv.Itoa(n)) + n + 2*len("\r\n"))
}

func (r *rig) field(ctx context.Context, name string) (string, error) {
	s, err := r.info(ctx)
	return s.text[name], err
}

// number is a field of INFO; 0 when there is none.
func (s snapshot) number(name string) float64 {
	n, _ := strconv.ParseFloat(s.text[name], 64)
	return n
}

// cpu is what the main thread has used, in seconds: it alone runs commands.
func (s snapshot) cpu() float64 {
	if user, ok := s.text["used_cpu_user_main_thread"]; ok {
		n, _ := strconv.ParseFloat(user, 64)
		return n + s.number("used_cpu_sys_main_thread")
	}
	return s.number("used_cpu_user") + s.number("used_cpu_sys")
}

// infoRequest is the size of the command as it is sent.
const infoRequest = float64(len("*2\r\n$4\r\nINFO\r\n$10\r\neverything\r\n"))

// span is what happened between two snapshots.
type span struct{ from, to snapshot }

// during measures what Redis did while do ran.
func (r *rig) during(ctx context.Context, do func() error) (span, error) {
	from, err := r.info(ctx)
	if err != nil {
		return span{}, err
	}
	if err := do(); err != nil {
		return span{}, err
	}
	to, err := r.info(ctx)
	return span{from, to}, err
}

func (s span) seconds() float64 { return s.to.at.Sub(s.from.at).Seconds() }
func (s span) cpu() float64     { return s.to.cpu() - s.from.cpu() }

func (s span) grown(name string) float64 { return s.to.number(name) - s.from.number(name) }

// out and in are bytes on all connections, without the INFO of the measurement itself.
func (s span) out() float64 { return s.grown("total_net_output_bytes") - s.from.size }
func (s span) in() float64  { return s.grown("total_net_input_bytes") - infoRequest }

// calls is how often a command ran.
func (s span) calls(command string) float64 { return s.to.calls[command] - s.from.calls[command] }

// commands is how many ran, as INFO counts them, so those in scripts and transactions
// too; without the INFO of the measurement itself.
func (s span) commands() float64 { return s.grown("total_commands_processed") - s.calls("info") }

// work is commands without the heartbeat.
func (s span) work() float64 { return s.commands() - s.calls("ping") }

// list writes what ran, without the heartbeat, most first.
func (s span) list() string {
	type count struct {
		name  string
		calls float64
	}
	var counts []count
	for name := range s.to.calls {
		if n := s.calls(name); n > 0 && name != "info" && name != "ping" {
			counts = append(counts, count{name, n})
		}
	}
	slices.SortFunc(counts, func(a, b count) int {
		if a.calls != b.calls {
			return int(b.calls - a.calls)
		}
		return strings.Compare(a.name, b.name)
	})
	var parts []string
	for _, c := range counts {
		part := strings.ToUpper(strings.ReplaceAll(c.name, "|", " "))
		if c.calls > 1 {
			part = fmt.Sprintf("%.0f %s", c.calls, part)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

// client is what Redis says of one connection.
type client struct{ total, output float64 }

// clients gives the pods' connections, as their names tell.
func (r *rig) clients(ctx context.Context) ([]client, error) {
	reply, err := r.do(ctx, "CLIENT", "LIST", "TYPE", "normal").ToString()
	if err != nil {
		return nil, err
	}
	var list []client
	for line := range strings.Lines(reply) {
		fields := make(map[string]string)
		for word := range strings.FieldsSeq(line) {
			name, value, _ := strings.Cut(word, "=")
			fields[name] = value
		}
		if fields["name"] != "pillion" {
			continue
		}
		var c client
		if c.total, err = strconv.ParseFloat(fields["tot-mem"], 64); err != nil {
			return nil, fmt.Errorf("CLIENT LIST: tot-mem %q: %w", fields["tot-mem"], err)
		}
		if c.output, err = strconv.ParseFloat(fields["omem"], 64); err != nil {
			return nil, fmt.Errorf("CLIENT LIST: omem %q: %w", fields["omem"], err)
		}
		list = append(list, c)
	}
	return list, nil
}
