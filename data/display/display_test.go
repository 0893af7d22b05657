package display

import "testing"

func TestPrintable(t *testing.T) {
	for s, want := range map[string]string{
		"plain\ttext\nwith lines":        "plain\ttext\nwith lines",
		"日本語　ünïcödé 👩\u200d🚀 क्\u200dष": "日本語　ünïcödé 👩\u200d🚀 क्\u200dष",
		"\x1b[31mred\x1b[0m":             `\x1b[31mred\x1b[0m`,
		"\x1b]0;title\x07":               `\x1b]0;title\a`,
		"over\rwritten\b\x00\x7f":        `over\rwritten\b\x00\x7f`,
		"\u009b31m":                      `\u009b31m`,
		"evil\u202egnp.exe\u2066":        `evil\u202egnp.exe\u2066`,
		"bad \xff\xfe utf8 \ufffd ok":    `bad \xff\xfe utf8 ` + "\ufffd ok",
	} {
		if got := Printable(s); got != want {
			t.Errorf("%q is shown as %q, want %q", s, got, want)
		}
	}
}

func TestMask(t *testing.T) {
	for s, want := range map[string]string{
		"override 'hf_hub_token=hf_AbCdEfGhIjKlMnOp'":            "override 'hf_hub_token=***'",
		"token hf_AbCdEfGhIjKlMnOpQrSt is wrong":                 "token hf_*** is wrong",
		"https://me:s3cret@host/v1 refused":                      "https://me:***@host/v1 refused",
		"http://user:p%40ss:w@10.0.0.1:80/":                      "http://user:***@10.0.0.1:80/",
		"https://host/v1?api_key=abc123&model=m":                 "https://host/v1?api_key=***&model=m",
		"Authorization: Bearer abcdefgh12345678":                 "Authorization: *** ***",
		"key sk-proj-abcdefghijklmnop":                           "key sk-***",
		`"api_key": "abcdef"`:                                    `"api_key": "***"`,
		"   3 | reward_api_key: 'topsecret'":                     "   3 | reward_api_key: '***'",
		"password = hunter2;":                                    "password = ***;",
		"ghp_0123456789abcdefghij":                               "ghp_***",
		"AKIAIOSFODNN7EXAMPLE":                                   "***",
		"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.c2lnbmF0dXJl": "***",
		// These are not secrets.
		"eos_token: <|im_end|>":                        "eos_token: <|im_end|>",
		"tokens=1234 pad_token=<pad>":                  "tokens=1234 pad_token=<pad>",
		"https://host:8000/v1/chat":                    "https://host:8000/v1/chat",
		"the secret is out; sha256 e3b0c44298fc1c149a": "the secret is out; sha256 e3b0c44298fc1c149a",
		"reward_key_env: JUDGE_KEY":                    "reward_key_env: JUDGE_KEY",
		"model sk-learn":                               "model sk-learn",
		"add_special_tokens: <a>,<b>":                  "add_special_tokens: <a>,<b>",
	} {
		if got := Mask(s); got != want {
			t.Errorf("%q is kept as %q, want %q", s, got, want)
		}
	}
}
