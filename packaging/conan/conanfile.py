import os
import re

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import collect_libs, copy, load, rmdir

required_conan_version = ">=2.0"


class EigenNorm(ConanFile):
    """The sources are the checkout that this recipe lies in, so there is nothing to download and no hash."""

    name = "eigennorm"
    description = "Trainable normalization layers for Eigen tensors"
    license = "MIT"
    topics = ("eigen", "normalization", "batch-normalization", "layer-normalization", "header-only")
    package_type = "library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"compiled": [True, False], "shared": [True, False], "fPIC": [True, False]}
    default_options = {"compiled": False, "shared": False, "fPIC": True}

    @property
    def checkout(self):
        return os.path.join(self.recipe_folder, "..", "..")

    def set_version(self):
        header = load(self, os.path.join(self.checkout, "include", "eigennorm", "version.hpp"))
        self.version = ".".join(re.findall(r"EIGENNORM_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", header))

    def export_sources(self):
        for pattern in ("CMakeLists.txt", "LICENSE", "cmake/*", "docs/CMakeLists.txt", "docs/Doxyfile.in", "include/*",
                        "src/*"):
            copy(self, pattern, self.checkout, self.export_sources_folder)

    def config_options(self):
        if self.settings.os == "Windows":
            self.options.rm_safe("fPIC")

    def configure(self):
        if not self.options.compiled:
            self.package_type = "header-library"
            self.options.rm_safe("shared")
            self.options.rm_safe("fPIC")
        elif self.options.shared:
            self.options.rm_safe("fPIC")

    def layout(self):
        cmake_layout(self)

    def requirements(self):
        self.requires("eigen/[>=3.4.0 <6]", transitive_headers=True)

    def package_id(self):
        if not self.info.options.compiled:
            self.info.clear()

    def validate(self):
        check_min_cppstd(self, 17)

    def generate(self):
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables["EIGENNORM_BUILD_LIBRARY"] = bool(self.options.compiled)
        toolchain.cache_variables["EIGENNORM_BUILD_TESTS"] = False
        toolchain.cache_variables["EIGENNORM_BUILD_EXAMPLES"] = False
        toolchain.generate()
        CMakeDeps(self).generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        CMake(self).install()
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        # Conan writes files for CMake and pkg-config itself.
        for folder in ("share", "lib/cmake", "lib/pkgconfig"):
            rmdir(self, os.path.join(self.package_folder, folder))

    def package_info(self):
        self.cpp_info.set_property("cmake_file_name", "eigennorm")
        self.cpp_info.set_property("cmake_target_name", "eigennorm::all")

        headers = self.cpp_info.components["headers"]
        headers.set_property("cmake_target_name", "eigennorm::eigennorm")
        headers.set_property("pkg_config_name", "eigennorm")
        headers.requires = ["eigen::eigen"]
        headers.libdirs = []
        headers.bindirs = []

        if self.options.compiled:
            compiled = self.cpp_info.components["compiled"]
            compiled.set_property("cmake_target_name", "eigennorm::compiled")
            compiled.requires = ["headers"]
            compiled.libs = collect_libs(self)
            compiled.defines = ["EIGENNORM_COMPILED"]
            compiled.set_property("pkg_config_name", "eigennorm-compiled")
