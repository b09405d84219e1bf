// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.27;

/// @title BLS signatures over BLS12-381, over the precompiles of EIP-2537 and EIP-198
/// @notice Keys in G1, signatures in G2, as on the beacon chain: BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_. A number of
/// the field has two words, the first of them below 2^128; a point has its coordinates in the order of EIP-2537, so that
/// `abi.encode` of a point is the precompiles' encoding. The point at infinity is all zeros.
/// @dev Adding does not check that a point is in the subgroup of prime order; `verify` does, for all it is given. So a key
/// must have gone through `verify` before it is added to others.
///
/// Every precompile call that fails reverts: a caller never mistakes "ran out of gas" or "not a point" for "the signature
/// is wrong". Each call names its gas so that a bad input, for which a precompile takes all it was given, costs a bounded
/// amount. The caps are several times what the operation costs, except the pairing's, which is 102,900 by EIP-2537.
library BLS12381 {
    /// @notice A point of G1: x and y.
    struct G1Point {
        uint256 xHigh;
        uint256 xLow;
        uint256 yHigh;
        uint256 yLow;
    }

    /// @notice A point of G2: x and y, of each the real part (0) and the imaginary part (1).
    struct G2Point {
        uint256 x0High;
        uint256 x0Low;
        uint256 x1High;
        uint256 x1Low;
        uint256 y0High;
        uint256 y0Low;
        uint256 y1High;
        uint256 y1Low;
    }

    /// @notice The bytes are not the encoding of a point: another length, or a number that is not below the modulus.
    error InvalidEncoding();
    /// @notice Adding failed: a number is not below the modulus, or the point is not on the curve.
    error PointOperationFailed();
    /// @notice The pairing failed: too little gas, or a point is not in its group.
    error PairingFailed();
    /// @notice Hashing to the curve failed: too little gas.
    error HashToCurveFailed();

    /// @dev The base field's modulus P.
    uint256 private constant P_HIGH = 0x1a0111ea397fe69a4b1ba7b6434bacd7;
    uint256 private constant P_LOW = 0x64774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab;

    /// @dev The suite's name, and its length as the last byte: DST_prime of RFC 9380, 5.3.1.
    bytes private constant DOMAIN = "BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_\x2b";

    uint256 private constant G1_ADD_GAS = 2_000;
    uint256 private constant G2_ADD_GAS = 3_000;
    uint256 private constant MAP_GAS = 60_000;
    uint256 private constant MODEXP_GAS = 5_000;
    uint256 private constant PAIRING_GAS = 120_000;

    /// @dev Refuses what has another length or numbers that are not below P: so a point has one encoding. Whether it is on
    /// the curve shows when it is used.
    function decodeG1(bytes calldata encoded) internal pure returns (G1Point memory point) {
        if (encoded.length != 128) revert InvalidEncoding();
        point = abi.decode(encoded, (G1Point));
        if (!_isReduced(point.xHigh, point.xLow) || !_isReduced(point.yHigh, point.yLow)) revert InvalidEncoding();
    }

    /// @dev As `decodeG1`.
    function decodeG2(bytes calldata encoded) internal pure returns (G2Point memory point) {
        if (encoded.length != 256) revert InvalidEncoding();
        point = abi.decode(encoded, (G2Point));
        if (
            !_isReduced(point.x0High, point.x0Low) || !_isReduced(point.x1High, point.x1Low)
                || !_isReduced(point.y0High, point.y0Low) || !_isReduced(point.y1High, point.y1Low)
        ) revert InvalidEncoding();
    }

    /// @dev The negative of G1's generator, with the generator as EIP-2537 gives it: same x, y subtracted from P.
    function negGeneratorG1() internal pure returns (G1Point memory) {
        return G1Point(
            0x17f1d3a73197d7942695638c4fa9ac0f,
            0xc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb,
            0x114d1d6855d545a8aa7d76c8cf2e21f2,
            0x67816aef1db507c96655b9d5caac42364e6f38ba0ecb751bad54dcd6b939c2ca
        );
    }

    function isZero(G1Point memory a) internal pure returns (bool) {
        return a.xHigh | a.xLow | a.yHigh | a.yLow == 0;
    }

    function plus(G1Point memory a, G1Point memory b) internal view returns (G1Point memory sum) {
        uint256[8] memory input = [a.xHigh, a.xLow, a.yHigh, a.yLow, b.xHigh, b.xLow, b.yHigh, b.yLow];
        bool ok;
        assembly ("memory-safe") {
            ok := staticcall(G1_ADD_GAS, 0x0b, input, 0x100, sum, 0x80)
        }
        if (!ok) revert PointOperationFailed();
    }

    /// @dev `a` must be canonical. No point but infinity has y = 0.
    function negate(G1Point memory a) internal pure returns (G1Point memory) {
        if (isZero(a)) return a;
        unchecked {
            uint256 borrow = a.yLow > P_LOW ? 1 : 0;
            return G1Point(a.xHigh, a.xLow, P_HIGH - a.yHigh - borrow, P_LOW - a.yLow);
        }
    }

    /// @dev RFC 9380's hash_to_curve of the suite. The precompile that maps to the curve also clears the cofactor.
    function hashToG2(bytes32 digest) internal view returns (G2Point memory sum) {
        bytes32[8] memory uniform = _expand(digest);
        bytes memory input = new bytes(512);
        _mapToG2(uniform[0], uniform[1], uniform[2], uniform[3], input, 0);
        _mapToG2(uniform[4], uniform[5], uniform[6], uniform[7], input, 256);
        bool ok;
        assembly ("memory-safe") {
            ok := staticcall(G2_ADD_GAS, 0x0d, add(input, 0x20), 0x200, sum, 0x100)
        }
        if (!ok) revert HashToCurveFailed();
    }

    /// @dev Whether `sigma` is a signature of `message` by `key`: e(-g1, sigma) * e(key, message) = 1. `key` must not be
    /// infinity, under which infinity would be a signature of everything. The precompile checks that all points are on
    /// their curves and in their groups.
    function verify(G2Point memory message, G2Point memory sigma, G1Point memory key) internal view returns (bool) {
        bytes memory input = abi.encode(negGeneratorG1(), sigma, key, message);
        uint256[1] memory result;
        bool ok;
        assembly ("memory-safe") {
            ok := staticcall(PAIRING_GAS, 0x0f, add(input, 0x20), 0x300, result, 0x20)
        }
        if (!ok) revert PairingFailed();
        return result[0] == 1;
    }

    /// @dev RFC 9380's expand_message_xmd with SHA-256, to 256 bytes: four numbers of 64 bytes.
    function _expand(bytes32 digest) private pure returns (bytes32[8] memory uniform) {
        // Z_pad is one block of SHA-256, 64 bytes of zeros; then the message, 256 as two bytes, a zero byte, DST_prime.
        bytes32 first = sha256(abi.encodePacked(bytes32(0), bytes32(0), digest, uint16(256), uint8(0), DOMAIN));
        bytes32 previous = 0;
        for (uint256 i = 0; i < 8; i++) {
            previous = sha256(abi.encodePacked(first ^ previous, uint8(i + 1), DOMAIN));
            uniform[i] = previous;
        }
    }

    /// @dev Maps the number of Fp2 with these two parts, each of 64 bytes and reduced here, to G2; writes the point to
    /// `output` from `offset` on.
    function _mapToG2(
        bytes32 high0,
        bytes32 low0,
        bytes32 high1,
        bytes32 low1,
        bytes memory output,
        uint256 offset
    ) private view {
        uint256[4] memory element;
        (element[0], element[1]) = _reduce(high0, low0);
        (element[2], element[3]) = _reduce(high1, low1);
        bool ok;
        assembly ("memory-safe") {
            ok := staticcall(MAP_GAS, 0x11, element, 0x80, add(add(output, 0x20), offset), 0x100)
        }
        if (!ok) revert HashToCurveFailed();
    }

    /// @dev A number of 64 bytes modulo P, by raising it to the power of 1.
    function _reduce(bytes32 high, bytes32 low) private view returns (uint256, uint256) {
        uint256[8] memory input = [64, 32, 64, uint256(high), uint256(low), 1, P_HIGH, P_LOW];
        uint256[2] memory reduced;
        bool ok;
        assembly ("memory-safe") {
            ok := staticcall(MODEXP_GAS, 0x05, input, 0x100, reduced, 0x40)
        }
        if (!ok) revert HashToCurveFailed();
        return (reduced[0], reduced[1]);
    }

    function _isReduced(uint256 high, uint256 low) private pure returns (bool) {
        return high < P_HIGH || (high == P_HIGH && low < P_LOW);
    }
}
