# An overlay port: the sources are the checkout that it lies in, so there is nothing to download and no hash.
get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../../../.." ABSOLUTE)

vcpkg_check_features(OUT_FEATURE_OPTIONS FEATURE_OPTIONS
    FEATURES
        compiled EIGENNORM_BUILD_LIBRARY
)

# Headers alone are the same for Release and Debug.
set(CONFIG_PATH lib/cmake/eigennorm)
if(NOT "compiled" IN_LIST FEATURES)
    set(CONFIG_PATH share/cmake/eigennorm)
    set(VCPKG_BUILD_TYPE release)
endif()

vcpkg_cmake_configure(
    SOURCE_PATH "${SOURCE_PATH}"
    OPTIONS
        ${FEATURE_OPTIONS}
        -DEIGENNORM_BUILD_TESTS=OFF
        -DEIGENNORM_BUILD_EXAMPLES=OFF
        -DEIGENNORM_INSTALL=ON
        -DCMAKE_DISABLE_FIND_PACKAGE_Doxygen=ON
)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH ${CONFIG_PATH})
vcpkg_fixup_pkgconfig()
vcpkg_copy_pdbs()

# The license has its place in vcpkg.
file(REMOVE_RECURSE
    "${CURRENT_PACKAGES_DIR}/debug/include"
    "${CURRENT_PACKAGES_DIR}/debug/share"
    "${CURRENT_PACKAGES_DIR}/share/licenses"
)
file(INSTALL "${CMAKE_CURRENT_LIST_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
