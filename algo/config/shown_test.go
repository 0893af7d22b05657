package config

import (
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/yamlfile"
)

func TestShownHidesSecrets(t *testing.T) {
	root, err := yamlfile.Parse("x.yaml", []byte("hf_hub_token: hf_abc\nlearning_rate: 1.0e-4\nlora_target: [q_proj, v_proj]\nreward: {api_key: sk-1, url: 'https://me:pw@host/x'}\nadd_tokens: <a>\nseed: 7\n"))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, kv := range (&Config{root: root}).Shown() {
		b.WriteString(kv[0] + "=" + kv[1] + "\n")
	}
	const want = "hf_hub_token=***\nlearning_rate=0.0001\nlora_target=[\"q_proj\",\"v_proj\"]\nreward={\"api_key\":\"***\",\"url\":\"https://me:***@host/x\"}\nadd_tokens=<a>\nseed=7\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}
