# Sourced by install.sh: GPU kernels that another machine has built, where this one has no compiler for them.
# shellcheck shell=bash

choose_kernels() {
    [[ $BUILD == cuda || -z $KERNELS ]] || wrong_usage "--kernels belongs to a machine with a GPU."
    [[ $BUILD == cpu || -n $KERNELS || ! -d $WHEELHOUSE/kernels ]] || KERNELS=$WHEELHOUSE/kernels
    [[ -z $KERNELS || -d $KERNELS ]] || wrong_usage "There is no folder $KERNELS."
    [[ -z $KERNELS ]] || KERNELS=$(readlink -f -- "$KERNELS")
}

check_prebuilt() {
    local found
    find_python || return 0
    if found=$(unfit_kernels "$(wanted_model)"); then
        good "kernels that fit, in $KERNELS"
    else
        bad "$found"
    fi
}

# unfit_kernels [MODEL]: why those cannot be used, and fails then.
unfit_kernels() {
    "$PYTHON" "$ROOT/tools/install/prebuilt.py" "$KERNELS" "$(lock_of "$PYTHON")" "$(ask_gpu compute_cap)" "$@"
}

# A release that was installed with such kernels hands them on to the next.
hand_kernels_on() {
    local found
    [[ $BUILD == cuda && $DRY_RUN == no ]] || return 0
    [[ -n $KERNELS || ! -e $PREFIX/current/kernels/SHA256SUMS ]] || KERNELS=$(readlink -f "$PREFIX/current/kernels")
    [[ -z $KERNELS ]] && return
    find_release_python
    found=$(unfit_kernels) || die "${found^}. Name that folder with --kernels."
}

wanted_model() {
    local i
    for ((i = 0; i < ${#FORWARDED[@]}; i += 2)); do
        [[ ${FORWARDED[i]} != --model ]] || { readlink -f -- "${FORWARDED[i + 1]}" && return; }
    done
    echo "$ROOT/engine/demo_model"
}

# FlashInfer looks for modules in its package before it compiles. The sums are written last, and say which are there.
ensure_kernels() {
    local dir
    dir=$(release_dir "$VERSION")
    [[ -z $KERNELS ]] || cmp --silent "$KERNELS/SHA256SUMS" "$dir/kernels/SHA256SUMS" ||
        change "take the GPU kernels in $KERNELS" take_kernels "$dir"
}

take_kernels() {
    local dir=$1 package
    (cd "$KERNELS" && quietly sha256sum --strict --check SHA256SUMS) || die "$KERNELS is damaged: copy it again."
    package=$("$dir/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib") + "/flashinfer/data/aot")')
    rm -rf "$dir/kernels" "$package"
    mkdir -p "$dir/kernels" "$package"
    cp -r --no-preserve=mode,ownership "$KERNELS/built.json" "$KERNELS/modules" "$KERNELS/triton" "$dir/kernels"
    cp -r "$dir/kernels/modules/." "$package"
    chmod -R a+rX "$dir/kernels" "$package"
    (cd "$dir/source" && quietly runuser -u semi-pd -- env XDG_STATE_HOME=/var/lib PYTHONDONTWRITEBYTECODE=1 \
        "$dir/venv/bin/python" -m appliance.prebuilt "$dir/kernels") || die "The kernels could not be taken; see $LOG."
    sync --file-system "$dir"
    cp --no-preserve=mode,ownership "$KERNELS/SHA256SUMS" "$dir/kernels"
}
