package redistest_test

import (
	"testing"

	"github.com/pillion-proxy/pillion/internal/redistest"
)

func TestSentinels(t *testing.T) {
	s := redistest.StartSentinels(t)
	c := s.Client()
	redistest.Do(t, c, "SET", "k", "v")
	s.FailOver()
}
