package upstream

import "github.com/pillion-proxy/pillion/internal/nonblock"

// ask looks at a pooled connection, sends the request and reads what comes first.
func (s *source) ask(p []byte) (int, error) {
	n, err := s.exchange.Do(s.request, p)
	s.request, s.look, s.found = nil, false, s.exchange.Found
	if err == nil {
		s.got = true
	}
	return n, err
}

// askable says whether ask works on this connection: it needs the socket itself.
func (s *source) askable() bool { return s.exchange.Able() }

// verdict is what a look at an idle connection found.
type verdict = nonblock.Verdict

const (
	quiet       = nonblock.Quiet
	gone        = nonblock.Gone
	unsolicited = nonblock.Unsolicited
)
