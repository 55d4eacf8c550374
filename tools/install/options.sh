# Sourced by install.sh: what the user asked for.
# shellcheck shell=bash disable=SC2034 # what is set here, other chapters read

show_help() {
    cat <<'HELP'
Semi-PD: serves a language model over an OpenAI-compatible endpoint, prefill and decode side by side on one GPU.

  sudo ./install.sh [options]
      Install for this machine and start: systemd services, settings in /etc/semi-pd, data in /var/lib/semi-pd. A second
      run changes nothing. What you have changed in /etc and what is in /var/lib is never overwritten.

  ./install.sh --check           say what this machine lacks, and what to do about it
  sudo ./install.sh --upgrade    install this release beside the one in force and move to it while requests are served;
                                 back if it does not serve
  sudo ./install.sh --rollback   move back to the release that was in force before
  sudo ./install.sh --uninstall [--purge]
      Remove the services and all releases; with --purge also settings, data and the user semi-pd.

  ./install.sh --run [options] [-- options of `semi-pd serve`]
      Install into ./.venv and serve in the foreground; Ctrl-C drains and stops everything. Needs no root.
      Without options: the embedded demo model on http://127.0.0.1:8000, on the GPU if there is one, else on the CPU.

  ./install.sh --test [--full] [-- options of pytest]
      Install into ./.venv with the test tools and run the short tests.
      --full runs the long ones too. What has passed is kept in .artifacts/, so that the same command goes on where an
      interrupted or failed run ended; it starts over once every test has passed or a file of the project has changed.

Options for this machine
  --dry-run              say what would be done, and do nothing
  --offline              take nothing from the network
  --wheelhouse DIR       take packages from this folder; made with tools/wheelhouse.sh, hashes are checked
  --kernels DIR          take the GPU kernels that another machine has built, from a folder that `semi-pd kernels export`
                         has made there; `kernels` in the wheelhouse is taken by itself. Then no nvcc is needed
  --prefix DIR           where releases go (/opt/semi-pd); later runs find it by themselves
  --no-start             install, and start nothing
  --drain                with --upgrade and --rollback: let streams end, then restart everything, which a release that
                         shares no format with the one in force needs

Options of --run, and of the first installation for this machine
  --model DIR            a Hugging Face model directory (Llama family)
  --bind ADDRESS         address to listen on (127.0.0.1). Beyond this machine both ports speak TLS: the installation
                         makes a certificate where /etc/semi-pd/tls has none, and prints its fingerprint
  --port N               port of the REST endpoint (8000)
  --console-port N       port of the console (8080)
  --gpu INDEX|UUID       which GPU, as nvidia-smi lists them (0)

Options of all
  --device auto|cuda|cpu what to install for and to run on (auto: a GPU if the NVIDIA driver shows one)
  --torch-index URL      take PyTorch from this package index
  --system-packages      install missing Debian packages with apt-get; needs root
  --help                 this text

The first start downloads PyTorch and takes minutes; later ones take seconds. pip's log is .venv/install.log.
HELP
}

die() {
    printf 'install.sh: %s\n' "$1" >&2
    exit "${2:-1}"
}

wrong_usage() {
    die "$1 See ./install.sh --help." 2
}

read_arguments() {
    local option value
    while (($#)); do
        option=$1
        shift
        case $option in
            --help | -h) show_help && exit ;;
            --run | --test | --check | --upgrade | --rollback | --uninstall) set_mode "${option#--}" ;;
            --dry-run) DRY_RUN=yes && ONLY_OF_MACHINE=$option ;;
            --offline) OFFLINE=yes && ONLY_OF_MACHINE=$option ;;
            --no-start) START=no && ONLY_OF_MACHINE=$option ;;
            --purge) PURGE=yes ;;
            --drain) DRAIN=yes ;;
            --full) FULL=yes ;;
            --system-packages) SYSTEM_PACKAGES=yes ;;
            --)
                FORWARDED+=("$@") && HAS_FORWARDED=yes
                break
                ;;
            --model | --bind | --port | --console-port | --gpu | --device | --torch-index | --prefix | --wheelhouse | --kernels)
                (($#)) || wrong_usage "The option $option needs a value."
                set_option "$option" "$1"
                shift
                ;;
            --*=*)
                value=${option#*=}
                set -- "${option%%=*}" "$value" "$@"
                ;;
            *) wrong_usage "There is no option $option." ;;
        esac
    done
    check_arguments
}

set_mode() {
    [[ -z $MODE || $MODE == "$1" ]] || wrong_usage "--$MODE and --$1 cannot be had at once."
    MODE=$1
}

set_option() {
    case $1 in
        --torch-index) TORCH_INDEX=$2 ;;
        --device) DEVICE=$2 ;;
        --prefix) PREFIX=$2 && ONLY_OF_MACHINE=$1 ;;
        --wheelhouse) WHEELHOUSE=$2 && ONLY_OF_MACHINE=$1 ;;
        --kernels) KERNELS=$2 && ONLY_OF_MACHINE=$1 ;;
        --bind)
            [[ $2 =~ ^[0-9A-Za-z.:-]+$ ]] || wrong_usage "--bind is an address of this machine, not '$2'."
            FORWARDED+=("$1" "$2") && ONLY_OF_RUN=$1
            ;;
        *) FORWARDED+=("$1" "$2") && ONLY_OF_RUN=$1 ;;
    esac
}

check_arguments() {
    MODE=${MODE:-install}
    [[ $FULL == no || $MODE == test ]] || wrong_usage "--full belongs to --test."
    [[ $DRAIN == no || $MODE =~ ^(upgrade|rollback)$ ]] || wrong_usage "--drain belongs to --upgrade and --rollback."
    [[ $PURGE == no || $MODE == uninstall ]] || wrong_usage "--purge belongs to --uninstall."
    [[ -z $ONLY_OF_RUN || $MODE =~ ^(run|install|check)$ ]] || wrong_usage "$ONLY_OF_RUN belongs to --run and to the first installation."
    [[ -z $ONLY_OF_MACHINE || ! $MODE =~ ^(run|test)$ ]] || wrong_usage "$ONLY_OF_MACHINE does not belong to --$MODE."
    [[ $HAS_FORWARDED == no || $MODE =~ ^(run|test)$ ]] || wrong_usage "Options after -- belong to --run and --test."
    [[ -z $PREFIX || ($PREFIX == /* && $PREFIX != /) ]] || wrong_usage "--prefix is the absolute path of a folder, not '$PREFIX'."
    PREFIX=${PREFIX%/}
    [[ $DEVICE =~ ^(auto|cuda|cpu)$ ]] || wrong_usage "--device is auto, cuda or cpu, not '$DEVICE'."
}
