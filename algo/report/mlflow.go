package report

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"dataflex.dev/dataflex/data/display"
	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
)

// MLflow writes a run into MLflow's file store (mlflow.org, "Backend Stores", file
// store): folders of an experiment and a run, a meta.yaml in each, and a file for every
// metric ("time in ms, value, step" a line), parameter and tag. `mlflow ui
// --backend-store-uri STORE` shows it.
type MLflow struct {
	dir  string // of the run
	meta mlflowRun
}

type mlflowRun struct {
	id, experiment, name, user string
	start                      int64 // ms
}

// MLflow's run statuses.
const (
	mlflowRunning  = 1
	mlflowFinished = 3
	mlflowFailed   = 4
)

// folderTag is the tag by which a resumed run is found.
const folderTag = "dataflex.output_dir"

// MLflowStore is the folder of MLflow's file store that MLFLOW_TRACKING_URI names, "mlruns"
// where it is not set. A server or a database is an error: training does not use the network.
func MLflowStore() (string, error) {
	uri := os.Getenv("MLFLOW_TRACKING_URI")
	switch u, err := url.Parse(uri); {
	case uri == "":
		return "mlruns", nil
	case err == nil && u.Scheme == "file":
		return filepath.FromSlash(u.Path), nil
	case strings.Contains(uri, "://") || strings.HasPrefix(uri, "databricks"):
		return "", fmt.Errorf("MLFLOW_TRACKING_URI=%s is not a folder, and training does not use the network: unset it or name a folder; mlflow ui --backend-store-uri FOLDER shows the runs in it", uri)
	}
	return uri, nil
}

// OpenMLflow starts a run in a store, or, where fresh is false, continues the run of the same
// output folder, whose values after step are dropped.
func OpenMLflow(store, runName, outputDir string, params [][2]string, fresh bool, step int) (*MLflow, error) {
	fail := func(err error) (*MLflow, error) { return nil, fmt.Errorf("mlflow: %w", err) }
	runName = display.Mask(runName) // it may contain a secret of the configuration, and is stored in files
	output, err := filepath.Abs(outputDir)
	if err != nil {
		return fail(err)
	}
	store, err = filepath.Abs(store)
	if err != nil {
		return fail(err)
	}
	name := os.Getenv("MLFLOW_EXPERIMENT_NAME")
	if name == "" {
		name = "Default"
	}
	experiment, err := mlflowExperiment(store, name)
	if err != nil {
		return fail(err)
	}
	if !fresh {
		m, err := mlflowResume(store, experiment, runName, output, step)
		if m != nil || err != nil {
			return m, err
		}
	}
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return fail(err)
	}
	m := &MLflow{meta: mlflowRun{id: hex.EncodeToString(id[:]), experiment: experiment, name: runName, start: time.Now().UnixMilli()}}
	if u, err := user.Current(); err == nil {
		m.meta.user = u.Username
	}
	m.dir = filepath.Join(store, experiment, m.meta.id)
	for _, d := range []string{"metrics", "params", "tags", "artifacts"} {
		if err := storage.MkdirAll(filepath.Join(m.dir, d)); err != nil {
			return fail(err)
		}
	}
	for key, value := range map[string]string{"mlflow.runName": m.meta.name, "mlflow.user": m.meta.user, "mlflow.source.name": "dataflex", "mlflow.source.type": "LOCAL", folderTag: output} {
		if err := storage.WriteFile(filepath.Join(m.dir, "tags", key), []byte(value)); err != nil {
			return nil, err
		}
	}
	for _, p := range params {
		if err := m.file("params", p[0], cutBytes(p[1], mlflowParam), false); err != nil {
			return nil, err
		}
	}
	return m, m.writeMeta(mlflowRunning)
}

// mlflowParam is the longest parameter that MLflow accepts, in bytes.
const mlflowParam = 6000

func cutBytes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

// mlflowExperiment finds an experiment by its name, or creates it.
func mlflowExperiment(store, name string) (id string, err error) {
	experiments, err := storage.Match(store, "*")
	if err != nil {
		return "", err
	}
	for _, dir := range experiments {
		raw, err := storage.ReadFile(filepath.Join(dir, "meta.yaml"))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			return "", err
		}
		if strings.Contains("\n"+string(raw), "\nname: "+yamlText(name)+"\n") {
			return filepath.Base(dir), nil
		}
	}
	id = "0" // MLflow's own Default
	if name != "Default" {
		n, err := rand.Int(rand.Reader, big.NewInt(9e17))
		if err != nil {
			return "", err
		}
		id = strconv.FormatInt(n.Int64()+1e17, 10) // 18 digits, as MLflow's
	}
	dir := filepath.Join(store, id)
	if err := storage.MkdirAll(dir); err != nil {
		return "", err
	}
	now := time.Now().UnixMilli()
	text := fmt.Sprintf("artifact_location: %s\ncreation_time: %d\nexperiment_id: '%s'\nlast_update_time: %d\nlifecycle_stage: active\nname: %s\n", yamlText(fileURI(dir)), now, id, now, yamlText(name))
	return id, storage.WriteFile(filepath.Join(dir, "meta.yaml"), []byte(text))
}

func fileURI(path string) string {
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(path)}).String()
}

// mlflowResume reopens the newest run of an output folder; nil where there is none.
func mlflowResume(store, experiment, name, output string, step int) (*MLflow, error) {
	runs, err := storage.Match(filepath.Join(store, experiment), "*")
	if err != nil {
		return nil, fmt.Errorf("mlflow: %w", err)
	}
	var m *MLflow
	for _, dir := range runs {
		raw, err := storage.ReadFile(filepath.Join(dir, "tags", folderTag))
		if err != nil || string(raw) != output {
			continue
		}
		meta := mlflowRun{id: filepath.Base(dir), experiment: experiment, name: name}
		if raw, err := storage.ReadFile(filepath.Join(dir, "meta.yaml")); err == nil {
			for line := range strings.Lines(string(raw)) {
				if v, ok := strings.CutPrefix(line, "start_time: "); ok {
					meta.start, _ = strconv.ParseInt(strings.TrimSpace(v), 10, 64) // 0 where it is damaged
				}
			}
		}
		if user, err := storage.ReadFile(filepath.Join(dir, "tags", "mlflow.user")); err == nil {
			meta.user = string(user)
		}
		if m == nil || meta.start > m.meta.start {
			m = &MLflow{dir: dir, meta: meta}
		}
	}
	if m == nil {
		return nil, nil
	}
	return m, errors.Join(m.truncate(step), m.writeMeta(mlflowRunning))
}

// truncate drops the values of later steps.
func (m *MLflow) truncate(step int) error {
	return filepath.WalkDir(filepath.Join(m.dir, "metrics"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := storage.ReadFile(path)
		if err != nil {
			return fmt.Errorf("mlflow: %w", err)
		}
		var kept strings.Builder
		for s := bufio.NewScanner(strings.NewReader(string(raw))); s.Scan(); {
			if f := strings.Fields(s.Text()); len(f) == 3 {
				if at, err := strconv.Atoi(f[2]); err == nil && at <= step {
					kept.WriteString(s.Text() + "\n")
				}
			}
		}
		return storage.WriteFile(path, []byte(kept.String()))
	})
}

func (m *MLflow) writeMeta(status int) error {
	end := "null"
	if status != mlflowRunning {
		end = strconv.FormatInt(time.Now().UnixMilli(), 10)
	}
	r := m.meta
	text := fmt.Sprintf("artifact_uri: %s\nend_time: %s\nentry_point_name: ''\nexperiment_id: '%s'\nlifecycle_stage: active\nrun_id: %s\nrun_name: %s\nrun_uuid: %s\nsource_name: ''\nsource_type: 4\nsource_version: ''\nstart_time: %d\nstatus: %d\ntags: []\nuser_id: %s\n",
		yamlText(fileURI(filepath.Join(m.dir, "artifacts"))), end, r.experiment, yamlText(r.id), yamlText(r.name), yamlText(r.id), r.start, status, yamlText(r.user))
	return storage.WriteFile(filepath.Join(m.dir, "meta.yaml"), []byte(text))
}

// Log writes every number of a log history's entry under its own name.
func (m *MLflow) Log(entry pyjson.Object) error {
	step, ok := entry.Get("step").(int)
	if !ok {
		return errors.New("mlflow: a log entry without a step")
	}
	for _, f := range entry {
		var err error
		switch v := f.Value.(type) {
		case int:
			if f.Key != "step" {
				err = m.Scalar(step, f.Key, float64(v))
			}
		case float64:
			err = m.Scalar(step, f.Key, v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Scalar appends a value to a metric's file.
func (m *MLflow) Scalar(step int, tag string, value float64) error {
	line := fmt.Sprintf("%d %s %d\n", time.Now().UnixMilli(), strconv.FormatFloat(value, 'g', -1, 64), step)
	return m.file("metrics", tag, line, true)
}

// file writes or appends to the file of a key, below a folder of the run.
func (m *MLflow) file(kind, key, text string, more bool) error {
	path := filepath.Join(m.dir, kind, filepath.FromSlash(mlflowKey(key)))
	if err := storage.MkdirAll(filepath.Dir(path)); err != nil {
		return fmt.Errorf("mlflow: %w", err)
	}
	how := os.O_TRUNC
	if more {
		how = os.O_APPEND
	}
	f, err := storage.OpenFile(path, os.O_CREATE|os.O_WRONLY|how, 0o666)
	if err != nil {
		return fmt.Errorf("mlflow: %w", err)
	}
	_, err = f.Write([]byte(text))
	return errors.Join(err, f.Close())
}

// mlflowKey is a name that MLflow accepts as a file below its folder: letters, digits, and _ -
// . space; a data set may have any name, even ../.
func mlflowKey(key string) string {
	parts := strings.Split(key, "/")
	for i, p := range parts {
		p = strings.Map(func(r rune) rune {
			if unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_-. ", r) {
				return r
			}
			return '_'
		}, p)
		if strings.Trim(p, ".") == "" {
			p = "_" + strings.ReplaceAll(p, ".", "_")
		}
		parts[i] = cutBytes(p, 200)
	}
	return strings.Join(parts, "/")
}

// Close records in the run's meta.yaml how it ended.
func (m *MLflow) Close(done bool) error {
	if done {
		return m.writeMeta(mlflowFinished)
	}
	return m.writeMeta(mlflowFailed)
}
