package tasks

import "strings"

// clusterSlots is the number of hash slots of a Redis Cluster.
const clusterSlots = 16384

// Keys are the Redis keys of one queue. All are in one slot, so that one script
// may touch them all on a Cluster.
type Keys struct {
	Source  string // the user's list, sorted set or stream
	Records string // hash: task id to envelope
	Leases  string // sorted set: lease member to expiry in ms
	Retry   string // sorted set: task id to due time in ms
	Dead    string // stream of dead letters
	Control string // hash: paused, rate limit, count of tasks taken
	Claim   string // the last claim of one process; expires
	base    string
}

// NewKeys derives a queue's keys. The prefix must not contain "{": the first brace
// of a key decides its slot. The owner names a process.
func NewKeys(prefix, queue, source, owner string) Keys {
	base := prefix + "{" + hashTag(source) + "}:" + queue + ":"
	return Keys{
		Source:  source,
		Records: base + "records",
		Leases:  base + "leases",
		Retry:   base + "retry",
		Dead:    base + "dead",
		Control: base + "control",
		Claim:   base + "claim:" + owner,
		base:    base,
	}
}

// dedup is where the use of a deduplication key is noted.
func (k Keys) dedup(key string) string { return k.base + "dedup:" + key }

// hashTag gives what to put between braces for a slot equal to the key's own: the
// key's tag, else the whole key. A key without a tag may still contain "}", as
// "foo}bar" does, which would end the tag early: then any short tag of its slot.
func hashTag(key string) string {
	if tag, ok := tagOf(key); ok {
		return tag
	}
	if key != "" && !strings.Contains(key, "}") {
		return key
	}
	return shortTag(slotOf(key))
}

// tagOf finds what Redis hashes instead of the whole key: what is between the first
// "{" and the first "}" after it, unless that is empty.
func tagOf(key string) (string, bool) {
	_, rest, ok := strings.Cut(key, "{")
	if !ok {
		return "", false
	}
	tag, _, ok := strings.Cut(rest, "}")
	return tag, ok && tag != ""
}

// slotOf gives the key's hash slot on a Redis Cluster.
func slotOf(key string) uint16 {
	if tag, ok := tagOf(key); ok {
		key = tag
	}
	return crc16(key) % clusterSlots
}

// crc16 is CRC-16/XMODEM, as the Cluster specification asks for.
func crc16(s string) uint16 {
	var crc uint16
	for i := 0; i < len(s); i++ {
		crc ^= uint16(s[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

// shortTag finds the first tag of a slot among the numbers in base 36. Four digits
// reach every slot, in 16384 tries on average.
func shortTag(slot uint16) string {
	const digits = "0123456789abcdefghijklmnopqrstuvwxyz"
	for length := 1; ; length++ {
		n := 1
		for range length {
			n *= len(digits)
		}
		buf := make([]byte, length)
		for i := range n {
			for d, v := length-1, i; d >= 0; d, v = d-1, v/len(digits) {
				buf[d] = digits[v%len(digits)]
			}
			if crc16(string(buf))%clusterSlots == slot {
				return string(buf)
			}
		}
	}
}
